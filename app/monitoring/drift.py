"""How far one distribution is from another: the population stability index."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.histogram_bins import BinCounts

# With fewer texts an index says more about chance than about them.
MIN_TEXTS = 100
# The rule of thumb of credit scoring: below 0.1 nothing has changed, above 0.25 much has.
MODERATE_PSI, SIGNIFICANT_PSI = 0.1, 0.25
# Bins of an ordered measure are joined until each has a tenth of the reference.
MIN_BIN_SHARE = 0.1
# What an empty bin is taken to have been hit.
PSEUDOCOUNT = 0.5
# Of a normal distribution, so much lies below this many standard deviations: 95 %.
Z_SCORE_95 = 1.645

DriftState = Literal["stable", "shifting", "drifted", "too_few"]


@dataclass(frozen=True, slots=True)
class Drift:
    """`psi` is None where there are too few texts; `by_chance` is what it would stay below in 95
    of 100 cases if nothing had changed."""

    psi: float | None
    noise_threshold: float | None
    state: DriftState
    texts: int


def ordinal_drift(expected: BinCounts, actual: BinCounts) -> Drift:
    """Of a measure whose bins have an order, such as lengths: small neighbours are joined."""
    bins = _merge_small_bins(expected, last=max([*expected, *actual], default=0))
    return _compare(
        [sum(expected.get(n, 0) for n in part) for part in bins],
        [sum(actual.get(n, 0) for n in part) for part in bins],
    )


def categorical_drift(expected: Mapping[int, int], actual: Mapping[int, int]) -> Drift:
    """Of a measure whose bins have none, such as labels."""
    kinds = sorted({*expected, *actual})
    return _compare([expected.get(k, 0) for k in kinds], [actual.get(k, 0) for k in kinds])


def _compare(expected: Sequence[int], actual: Sequence[int]) -> Drift:
    if sum(actual) < MIN_TEXTS or not sum(expected):
        return Drift(None, None, "too_few", sum(actual))
    index = psi(expected, actual)
    chance = noise_threshold(len(expected), sum(expected), sum(actual))
    state: DriftState = "stable"
    if index >= MODERATE_PSI and index > chance:
        state = "drifted" if index >= SIGNIFICANT_PSI else "shifting"
    return Drift(round(index, 4), round(chance, 4), state, sum(actual))


def psi(expected: Sequence[int], actual: Sequence[int]) -> float:
    """sum over the bins of (a - e) * ln(a / e), where a and e are the bins' shares.

    It is the sum of both Kullback-Leibler divergences (Jeffreys, 1946), used under this name since
    Lewis, "An Introduction to Credit Scoring" (1992). An empty bin would make it infinite, so
    SMOOTHING is added to the count of every bin, in both.
    """
    total_e = sum(expected) + PSEUDOCOUNT * len(expected)
    total_a = sum(actual) + PSEUDOCOUNT * len(actual)
    shares = [
        ((e + PSEUDOCOUNT) / total_e, (a + PSEUDOCOUNT) / total_a)
        for e, a in zip(expected, actual, strict=True)
    ]
    return sum((a - e) * math.log(a / e) for e, a in shares)


def noise_threshold(bins: int, expected: int, actual: int) -> float:
    """The 95th percentile of the index of two samples of one distribution.

    Times 1 / (1/N + 1/M) it is distributed as chi-squared with bins - 1 degrees of freedom, here by
    its normal approximation (Yurdakul and Naranjo, "Statistical properties of the population
    stability index", Journal of Risk Model Validation 14(4), 2020).
    """
    freedom = bins - 1
    return (1 / expected + 1 / actual) * (freedom + Z_SCORE_95 * math.sqrt(2 * freedom))


def _merge_small_bins(expected: BinCounts, *, last: int) -> list[list[int]]:
    """Neighbouring bins 0 … last in groups of a tenth of the reference at least.

    Bins above all of the reference are a group too: what nothing was trained on must show.
    """
    wanted = MIN_BIN_SHARE * sum(expected.values())
    highest = max(expected, default=0)
    groups: list[list[int]] = [[]]
    for place in range(highest + 1):
        if sum(expected.get(n, 0) for n in groups[-1]) >= wanted and groups[-1]:
            groups.append([])
        groups[-1].append(place)
    if len(groups) > 1 and sum(expected.get(n, 0) for n in groups[-1]) < wanted:
        rest = groups.pop()
        groups[-1] += rest
    return groups + ([list(range(highest + 1, last + 1))] if last > highest else [])
