"""Comparison of two models by an eval's items, with intervals by the paired bootstrap.

Items are drawn with replacement, each with the results of both models, as in Koehn, Statistical
Significance Tests for Machine Translation Evaluation (EMNLP 2004); the interval is the percentile
interval of Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.jobs.schemas import CriterionComparison, EvaluationResult, ModelComparison

RESAMPLES = 2000
# Of the resamples that are computed together, to bound the memory.
CHUNK = 50
PERCENTILES = (2.5, 97.5)
# The same items give the same interval.
SEED = 0
DIGITS = 4


@dataclass(slots=True)
class ItemResults:
    """Results of a run's items, by index: 1 if one passed, and the scores of its criteria."""

    passed: dict[int, float] = field(default_factory=dict)
    scores: dict[str, dict[int, float]] = field(default_factory=dict)


def compare(base: ItemResults, tuned: ItemResults, criteria: Mapping[str, str]) -> EvaluationResult:
    """Compare two runs over the same items; `criteria` are names by id."""
    return EvaluationResult(
        pass_rate=_compare(base.passed, tuned.passed),
        criteria=[
            CriterionComparison(
                name=name,
                **_compare(base.scores.get(id, {}), tuned.scores.get(id, {})).model_dump(),
            )
            for id, name in criteria.items()
        ],
    )


def _compare(base: Mapping[int, float], tuned: Mapping[int, float]) -> ModelComparison:
    indexes = sorted(base.keys() & tuned.keys())
    if not indexes:
        return ModelComparison(items=0, base=None, tuned=None, difference=None, interval=None)
    first, second = ([each[index] for index in indexes] for each in (base, tuned))
    differences = [b - a for a, b in zip(first, second, strict=True)]
    return ModelComparison(
        items=len(indexes),
        base=_mean(first),
        tuned=_mean(second),
        difference=_mean(differences),
        interval=find_interval(differences),
    )


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), DIGITS)


def find_interval(differences: Sequence[float]) -> list[float]:
    """Find the 95 % interval of the mean of paired differences."""
    values = np.asarray(differences, dtype=np.float64)
    random = np.random.default_rng(SEED)
    means = np.concatenate(
        [
            values[random.integers(0, len(values), size=(CHUNK, len(values)))].mean(axis=1)
            for _ in range(RESAMPLES // CHUNK)
        ]
    )
    return [round(float(each), DIGITS) for each in np.percentile(means, PERCENTILES)]
