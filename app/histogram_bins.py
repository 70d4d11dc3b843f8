"""Fixed histogram bins, shared by training, engines and the API.

Training counts its file into these bins, engines their requests, and the API adds and compares the
counts. So change the bounds only together with VERSION.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

# Version of the bounds below; counts of different versions are never compared.
VERSION = 1

# Number of values per bin index; empty bins are left out.
BinCounts = dict[int, int]


@dataclass(frozen=True, slots=True)
class HistogramBins:
    """Bin n holds values up to and including `bounds[n]`; one more bin holds the rest."""

    bounds: tuple[float, ...]

    def bin_index(self, value: float) -> int:
        return bisect_left(self.bounds, value)

    def count(self, values: "list[float] | list[int]") -> BinCounts:
        """Count the values of each bin."""
        counts: BinCounts = {}
        for value in values:
            index = self.bin_index(value)
            counts[index] = counts.get(index, 0) + 1
        return counts

    def quantile(self, counts: Mapping[int, int], fraction: float) -> float | None:
        """Estimate a quantile by linear interpolation within its bin.

        Above the last bound it is that bound. None if nothing was counted.
        """
        remaining = fraction * sum(counts.values())
        if not remaining:
            return None
        edges = list(pairwise((0.0, *self.bounds)))
        for index, (low, high) in enumerate(edges):
            inside = counts.get(index, 0)
            if inside and remaining <= inside:
                return low + (high - low) * remaining / inside
            remaining -= inside
        return self.bounds[-1]


def _doubling_bounds(first: int, last: int) -> tuple[float, ...]:
    """first, 1.5 * first, 2 * first, 3 * first …, last"""
    bounds = [float(first)]
    while bounds[-1] < last:
        bounds += [bounds[-1] * 1.5, bounds[-1] * 2]
    return tuple(bounds)


# Tokens per text.
TEXT_LENGTH_BINS = HistogramBins((1.0, *_doubling_bounds(2, 32768)))
# Ratios from 0 to 1, such as the out-of-vocabulary rate of a text.
RATIO_BINS = HistogramBins((0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75))
# Probability of the predicted label. Most are near 1, so the bins are finer there.
CONFIDENCE_BINS = HistogramBins((0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0))
# Seconds from a request to the last byte of its response.
DURATION_BINS = HistogramBins(
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
)
