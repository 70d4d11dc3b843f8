"""Drift between two distributions: the population stability index (PSI)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.histogram_bins import BinCounts

# Below this many texts, sampling noise dominates the index.
MIN_TEXTS = 100
# Credit scoring's rule of thumb: below 0.1 no change, above 0.25 a significant one.
MODERATE_PSI, SIGNIFICANT_PSI = 0.1, 0.25
# Neighbouring bins of an ordered measure are merged until each holds this share of the baseline.
MIN_BIN_SHARE = 0.1
# Added to the count of every bin: an empty one would make the index infinite.
PSEUDOCOUNT = 0.5
# 95 % of a normal distribution lie below this many standard deviations.
Z_SCORE_95 = 1.645


class DriftState(StrEnum):
    """`moderate` and `drifted` need an index above both the rule of thumb and the noise."""

    STABLE = "stable"
    MODERATE = "moderate"
    DRIFTED = "drifted"
    INSUFFICIENT_DATA = "insufficient_data"


@dataclass(frozen=True, slots=True)
class Drift:
    """PSI of `texts` live texts against the baseline.

    Without any drift, sampling noise keeps `psi` below `noise_threshold` in 95 % of cases. Both are
    None if there are too few texts.
    """

    psi: float | None
    noise_threshold: float | None
    state: DriftState
    texts: int


def ordinal_drift(expected: BinCounts, actual: BinCounts) -> Drift:
    """Drift of a measure with ordered bins, such as lengths: small neighbours are merged."""
    bins = _merge_small_bins(expected, last=max([*expected, *actual], default=0))
    return _compare(
        [sum(expected.get(n, 0) for n in group) for group in bins],
        [sum(actual.get(n, 0) for n in group) for group in bins],
    )


def categorical_drift(expected: Mapping[int, int], actual: Mapping[int, int]) -> Drift:
    """Drift of a measure whose bins have no order, such as labels."""
    categories = sorted({*expected, *actual})
    return _compare(
        [expected.get(category, 0) for category in categories],
        [actual.get(category, 0) for category in categories],
    )


def _compare(expected: Sequence[int], actual: Sequence[int]) -> Drift:
    if sum(actual) < MIN_TEXTS or not sum(expected):
        return Drift(None, None, DriftState.INSUFFICIENT_DATA, sum(actual))
    index = psi(expected, actual)
    threshold = noise_threshold(len(expected), sum(expected), sum(actual))
    state = DriftState.STABLE
    if index >= MODERATE_PSI and index > threshold:
        state = DriftState.DRIFTED if index >= SIGNIFICANT_PSI else DriftState.MODERATE
    return Drift(round(index, 4), round(threshold, 4), state, sum(actual))


def psi(expected: Sequence[int], actual: Sequence[int]) -> float:
    """Population stability index: the sum over bins of (a - e) * ln(a / e), with their shares a, e.

    Equals the sum of both Kullback-Leibler divergences (Jeffreys, 1946); under this name since
    Lewis, "An Introduction to Credit Scoring" (1992). Both sides are smoothed by PSEUDOCOUNT.
    """
    total_e = sum(expected) + PSEUDOCOUNT * len(expected)
    total_a = sum(actual) + PSEUDOCOUNT * len(actual)
    shares = [
        ((e + PSEUDOCOUNT) / total_e, (a + PSEUDOCOUNT) / total_a)
        for e, a in zip(expected, actual, strict=True)
    ]
    return sum((a - e) * math.log(a / e) for e, a in shares)


def noise_threshold(bins: int, expected: int, actual: int) -> float:
    """95th percentile of the PSI of two samples, of N and M values, from one distribution.

    PSI / (1/N + 1/M) follows a chi-squared distribution with bins - 1 degrees of freedom, for which
    the normal approximation is taken (Yurdakul and Naranjo, "Statistical properties of the
    population stability index", Journal of Risk Model Validation 14(4), 2020).
    """
    degrees = bins - 1
    return (1 / expected + 1 / actual) * (degrees + Z_SCORE_95 * math.sqrt(2 * degrees))


def _merge_small_bins(expected: BinCounts, *, last: int) -> list[list[int]]:
    """Group neighbouring bins 0 … last until each group holds MIN_BIN_SHARE of the baseline.

    The bins above the whole baseline are a group of their own, so that values never seen in
    training show.
    """
    wanted = MIN_BIN_SHARE * sum(expected.values())
    highest = max(expected, default=0)
    groups: list[list[int]] = [[]]
    for index in range(highest + 1):
        if sum(expected.get(n, 0) for n in groups[-1]) >= wanted and groups[-1]:
            groups.append([])
        groups[-1].append(index)
    if len(groups) > 1 and sum(expected.get(n, 0) for n in groups[-1]) < wanted:
        rest = groups.pop()
        groups[-1] += rest
    return groups + ([list(range(highest + 1, last + 1))] if last > highest else [])
