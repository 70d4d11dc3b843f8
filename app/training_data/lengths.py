"""Distribution of lengths: quantiles and a histogram of equal bins."""

import math
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate

from pydantic import BaseModel

NUM_BINS = 20


class HistogramBin(BaseModel):
    """Number of lengths from `minimum` to `maximum`, both included."""

    minimum: int
    maximum: int
    count: int


class LengthDistribution(BaseModel):
    """Lengths of `count` texts or sequences."""

    count: int
    total: int
    minimum: int
    median: int
    p95: int
    maximum: int
    histogram: list[HistogramBin]


def describe_lengths(lengths: Iterable[int] | Counter[int]) -> LengthDistribution | None:
    """Describe lengths; None without any."""
    counts = Counter(lengths)
    if not counts:
        return None
    values = sorted(counts)
    width = max(1, math.ceil((values[-1] + 1) / NUM_BINS))
    bins: Counter[int] = Counter()
    for value, count in counts.items():
        bins[value // width] += count
    return LengthDistribution(
        count=counts.total(),
        total=sum(value * count for value, count in counts.items()),
        minimum=values[0],
        median=_find_quantile(counts, values, 0.5),
        p95=_find_quantile(counts, values, 0.95),
        maximum=values[-1],
        histogram=[
            HistogramBin(minimum=place * width, maximum=(place + 1) * width - 1, count=bins[place])
            for place in range(values[-1] // width + 1)
        ],
    )


def _find_quantile(counts: Counter[int], values: list[int], share: float) -> int:
    """Find the smallest length that at least this share of the lengths does not exceed."""
    sums = accumulate(counts[value] for value in values)
    needed = share * counts.total()
    return next(value for value, total in zip(values, sums, strict=True) if total >= needed)
