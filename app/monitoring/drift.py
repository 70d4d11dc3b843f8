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
# Added to the count of every bin, since an empty bin would make the index infinite.
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


def compute_ordinal_drift(expected: BinCounts, actual: BinCounts) -> Drift:
    """Compute the drift of a measure with ordered bins, such as lengths; merge small neighbours."""
    bins = _merge_small_bins(expected, last=max([*expected, *actual], default=0))
    return _compare(
        [sum(expected.get(n, 0) for n in group) for group in bins],
        [sum(actual.get(n, 0) for n in group) for group in bins],
    )


def compute_categorical_drift(expected: Mapping[int, int], actual: Mapping[int, int]) -> Drift:
    """Compute the drift of a measure whose bins have no order, such as labels."""
    categories = sorted({*expected, *actual})
    return _compare(
        [expected.get(category, 0) for category in categories],
        [actual.get(category, 0) for category in categories],
    )


def _compare(expected: Sequence[int], actual: Sequence[int]) -> Drift:
    if sum(actual) < MIN_TEXTS or not sum(expected):
        return Drift(None, None, DriftState.INSUFFICIENT_DATA, sum(actual))
    index = compute_psi(expected, actual)
    threshold = compute_noise_threshold(len(expected), sum(expected), sum(actual))
    state = DriftState.STABLE
    if index >= MODERATE_PSI and index > threshold:
        state = DriftState.DRIFTED if index >= SIGNIFICANT_PSI else DriftState.MODERATE
    return Drift(round(index, 4), round(threshold, 4), state, sum(actual))


def compute_psi(expected: Sequence[int], actual: Sequence[int]) -> float:
    """Compute the population stability index: sum over bins of (a - e) * ln(a / e), a and e shares.

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


def compute_noise_threshold(bins: int, expected: int, actual: int) -> float:
    """Compute the 95th percentile of the PSI of samples of N and M values of one distribution.

    PSI / (1/N + 1/M) follows a chi-squared distribution with bins - 1 degrees of freedom,
    approximated here by a normal distribution (Yurdakul and Naranjo, "Statistical properties of the
    population stability index", Journal of Risk Model Validation 14(4), 2020).
    """
    degrees = bins - 1
    return (1 / expected + 1 / actual) * (degrees + Z_SCORE_95 * math.sqrt(2 * degrees))


def _merge_small_bins(expected: BinCounts, *, last: int) -> list[list[int]]:
    """Group neighbouring bins 0 … last until each group holds MIN_BIN_SHARE of the baseline.

    The bins above the whole baseline form a group of their own, so that values never seen in
    training count as drift.
    """
    minimum = MIN_BIN_SHARE * sum(expected.values())
    highest = max(expected, default=0)
    groups: list[list[int]] = [[]]
    for index in range(highest + 1):
        if sum(expected.get(n, 0) for n in groups[-1]) >= minimum and groups[-1]:
            groups.append([])
        groups[-1].append(index)
    if len(groups) > 1 and sum(expected.get(n, 0) for n in groups[-1]) < minimum:
        last_group = groups.pop()
        groups[-1] += last_group
    return groups + ([list(range(highest + 1, last + 1))] if last > highest else [])
