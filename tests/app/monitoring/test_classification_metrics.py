"""Accuracy and F1 from counts, compared with scikit-learn's."""

import random
from collections.abc import Callable

import pytest
from sklearn.metrics import accuracy_score, f1_score

from app.monitoring import classification_metrics
from app.monitoring.traffic import TrafficCounts
from tests.growth import assert_linear

LABELS = ["a", "b", "c", "d"]


@pytest.mark.parametrize("multi_label", [False, True])
def test_metrics_equal_scikit_learns(multi_label: bool) -> None:
    generator = random.Random(3)
    fewest, most = (0, 3) if multi_label else (1, 1)
    pairs = [
        tuple([generator.sample(range(4), generator.randint(fewest, most)) for _ in range(2)])
        for _ in range(300)
    ]
    counts: TrafficCounts = {}
    for predicted, true in pairs:
        classification_metrics.count_prediction(counts, predicted, true)
    matrices = [[[int(p in side) for p in range(4)] for side in row] for row in pairs]
    predictions, truths = ([row[side] for row in matrices] for side in (0, 1))
    result = classification_metrics.compute_metrics(counts, LABELS)
    assert result is not None
    assert result.accuracy == pytest.approx(accuracy_score(truths, predictions), abs=1e-3)
    for kind in ("micro", "macro", "weighted"):
        expected = f1_score(truths, predictions, average=kind)
        assert getattr(result, f"f1_{kind}") == pytest.approx(expected, abs=1e-3)


def test_counts_can_be_reverted() -> None:
    counts: TrafficCounts = {}
    classification_metrics.count_prediction(counts, [1], [2])
    classification_metrics.count_prediction(counts, [1], [2], -1)
    assert classification_metrics.compute_metrics(counts, LABELS) is None


def test_work_is_linear_in_the_labels_of_a_text() -> None:
    def prepare(size: int) -> Callable[[], None]:
        predicted, true = list(range(size)), list(range(size // 2, size + size // 2))
        return lambda: classification_metrics.count_prediction({}, predicted, true)

    assert_linear(prepare, max_size=2**16)
