"""Fixed bins, so that whoever counts into a histogram adds up with everyone else who does.

Training counts its file into them, engines their answers, and the API adds all of that up; so the
bounds may only be changed together with VERSION.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

# Of the bounds below: counts of another version are not compared with ours.
VERSION = 1

# How often each bin was hit, by its number; bins that were not are left out.
BinCounts = dict[int, int]


@dataclass(frozen=True, slots=True)
class HistogramBins:
    """Bin n holds values up to `bounds[n]`, its own bound included, and one more bin the rest."""

    bounds: tuple[float, ...]

    def bin_index(self, value: float) -> int:
        return bisect_left(self.bounds, value)

    def count(self, values: "list[float] | list[int]") -> BinCounts:
        """How many of the values are in each bin."""
        counts: BinCounts = {}
        for value in values:
            place = self.bin_index(value)
            counts[place] = counts.get(place, 0) + 1
        return counts

    def quantile(self, counts: Mapping[int, int], share: float) -> float | None:
        """The value that `share` of those counted are not above, as far as bins can tell.

        Values are taken to lie evenly within their bin. Above the last bound it is that bound;
        None if nothing was counted.
        """
        left = share * sum(counts.values())
        if not left:
            return None
        edges = list(pairwise((0.0, *self.bounds)))
        for place, (low, high) in enumerate(edges):
            inside = counts.get(place, 0)
            if inside and left <= inside:
                return low + (high - low) * left / inside
            left -= inside
        return self.bounds[-1]


def _doubling_bounds(first: int, last: int) -> tuple[float, ...]:
    """first, 1.5 * first, 2 * first, 3 * first …, last"""
    bounds = [float(first)]
    while bounds[-1] < last:
        bounds += [bounds[-1] * 1.5, bounds[-1] * 2]
    return tuple(bounds)


# Tokens of a text.
TEXT_LENGTH_BINS = HistogramBins((1.0, *_doubling_bounds(2, 32768)))
# A part of one whole: unknown tokens among a text's tokens.
RATIO_BINS = HistogramBins((0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75))
# Probability of the label that was answered; most are near 1, where the difference matters.
CONFIDENCE_BINS = HistogramBins((0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0))
# From a request to the last byte of its answer.
DURATION_BINS = HistogramBins(
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
)
