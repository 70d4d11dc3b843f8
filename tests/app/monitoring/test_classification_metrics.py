"""Live accuracy and F1 are what scikit-learn says of the same texts."""

import random

import pytest
from sklearn.metrics import accuracy_score, f1_score

from app.monitoring import classification_metrics
from app.monitoring.traffic import TrafficCounts

LABELS = ["a", "b", "c", "d"]


@pytest.mark.parametrize("many", [False, True])
def test_the_measures_are_scikit_learns(many: bool) -> None:
    generator = random.Random(3)
    most = 3 if many else 1
    pairs = [
        tuple(
            [generator.sample(range(4), generator.randint(1 - many, most)) for _ in range(2)],
        )
        for _ in range(300)
    ]
    tally: TrafficCounts = {}
    for found, truth in pairs:
        classification_metrics.count_prediction(tally, found, truth)
    matrices = [[[int(p in side) for p in range(4)] for side in row] for row in pairs]
    guesses, truths = ([row[side] for row in matrices] for side in (0, 1))
    result = classification_metrics.compute_metrics(tally, LABELS)
    assert result is not None
    assert result.accuracy == pytest.approx(accuracy_score(truths, guesses), abs=1e-3)
    for kind in ("micro", "macro", "weighted"):
        expected = f1_score(truths, guesses, average=kind)
        assert getattr(result, f"f1_{kind}") == pytest.approx(expected, abs=1e-3)


def test_what_is_taken_back_leaves_nothing() -> None:
    tally: TrafficCounts = {}
    classification_metrics.count_prediction(tally, [1], [2])
    classification_metrics.count_prediction(tally, [1], [2], -1)
    assert classification_metrics.compute_metrics(tally, LABELS) is None
