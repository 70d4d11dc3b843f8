"""Metrics of cases whose values are known by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, precision_score, recall_score

from app.formats.token_classification import EntitySpan, entities_from_tags
from worker.training.encoders import metrics
from worker.training.encoders.objective import list_wrong_examples


def test_single_label_metrics() -> None:
    truth = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]])
    report = metrics.single_label_metrics(truth, probabilities, ["a", "b"])
    assert report["accuracy"] == 0.75
    assert report["f1_macro"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert report["per_label"]["a"]["recall"] == 0.5
    assert report["confusion_matrix"]["rows"] == [[1, 1], [0, 2]]
    assert report["roc_auc"] == 1.0


def test_calibration_compares_confidence_with_accuracy() -> None:
    probabilities = np.array([[0.9, 0.1], [0.05, 0.95], [0.0, 1.0], [0.4, 0.6]])
    report = metrics.single_label_metrics(np.array([0, 0, 1, 1]), probabilities, ["a", "b"])
    sure, unsure = report["calibration"]["bins"][1], report["calibration"]["bins"][0]
    assert unsure == {"rows": 1, "confidence": 0.6, "accuracy": 1.0}
    assert sure["rows"] == 3, "a confidence of 1 is in the last bin"
    assert sure["confidence"] == pytest.approx(0.95)
    assert sure["accuracy"] == pytest.approx(2 / 3)
    expected = (3 * (0.95 - 2 / 3) + 1 * 0.4) / 4
    assert report["calibration"]["error"] == pytest.approx(expected)


def test_a_missing_label_gives_no_roc_auc_and_no_error() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    report = metrics.single_label_metrics(np.array([0, 1]), probabilities, ["a", "b", "c"])
    assert "roc_auc" not in report
    assert report["per_label"]["c"]["support"] == 0
    assert report["f1_macro"] == 1.0, "scikit-learn's average over occurring labels"


def test_multi_label_metrics() -> None:
    truth = np.array([[1, 0], [1, 1], [0, 1]])
    probabilities = np.array([[0.9, 0.1], [0.9, 0.2], [0.1, 0.9]])
    report = metrics.multi_label_metrics(truth, probabilities, ["a", "b"])
    assert report["accuracy"] == pytest.approx(2 / 3)
    assert report["f1_micro"] == pytest.approx(6 / 7)


def test_macro_averages_equal_scikit_learns_over_occurring_labels() -> None:
    """The file lacks c and d, and one of its texts is predicted as d."""
    truth, found = np.array([0, 0, 1, 1, 1]), [0, 1, 1, 1, 3]
    report = metrics.single_label_metrics(truth, np.eye(4)[found], ["a", "b", "c", "d"])
    for name, measure in (
        ("precision", precision_score),
        ("recall", recall_score),
        ("f1", f1_score),
    ):
        expected = measure(truth, found, average="macro", zero_division=0)
        assert report[f"{name}_macro"] == pytest.approx(expected)
    assert report["f1_micro"] == report["accuracy"] == 0.6


def test_multi_label_averages_are_over_occurring_labels() -> None:
    truth = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]])
    report = metrics.multi_label_metrics(truth, truth.astype(float), ["a", "b", "c", "d"])
    assert report["f1_macro"] == report["recall_macro"] == 1.0
    predictions = truth + np.array([[0, 0, 0, 1], [0] * 4, [0] * 4])
    report = metrics.multi_label_metrics(truth, predictions.astype(float), ["a", "b", "c", "d"])
    expected = f1_score(truth, predictions, average="macro", labels=[0, 1, 3], zero_division=0)
    assert report["f1_macro"] == pytest.approx(expected) == pytest.approx(2 / 3)
    none = metrics.multi_label_metrics(np.zeros((2, 2), int), np.zeros((2, 2)), ["a", "b"])
    assert none["f1_micro"] == 0, "the metric that chooses the best weights always exists"


def test_a_file_without_entities_has_no_macro_average() -> None:
    """It would be NaN, which is invalid JSON."""
    nothing: list[list[EntitySpan]] = [[], []]
    report = metrics.entity_metrics(nothing, nothing)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["f1"] == 0.0
    assert report.keys().isdisjoint(("f1_macro", "f1_weighted"))
    wrong = metrics.entity_metrics(nothing, [[EntitySpan(2, 3, "x")], []])
    assert (wrong["f1_macro"], wrong["f1_weighted"]) == (0.0, 0.0)


def entities_of(tags: list[str]) -> tuple[EntitySpan, ...]:
    return entities_from_tags(tags, [(word, word + 1) for word in range(len(tags))])


SEQEVAL_REPORTS = json.loads(Path(__file__).with_name("seqeval_reports.json").read_text())


@pytest.mark.parametrize("case", SEQEVAL_REPORTS, ids=range(len(SEQEVAL_REPORTS)))
def test_entity_metrics_equal_those_that_seqeval_computed(case: dict[str, Any]) -> None:
    """The reports were recorded with seqeval 1.2.2: random tags, some of them invalid BIO."""
    truth, predictions = (
        [entities_of(text.split()) for text in case[name]] for name in ("truth", "predictions")
    )
    report = metrics.entity_metrics(truth, predictions)
    del case["report"]["accuracy"]  # of tags, of which these entities say nothing
    assert report.pop("per_label") == {
        label: pytest.approx(row) for label, row in case["report"].pop("per_label").items()
    }
    assert report == pytest.approx(case["report"])


def test_entities_count_only_as_a_whole() -> None:
    truth = [entities_of(["B-x", "I-x", "O", "B-y"])]
    predictions = [entities_of(["B-x", "O", "O", "B-y"])]
    report = metrics.entity_metrics(truth, predictions)
    assert (report["precision"], report["recall"], report["f1"]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("answers", "prediction", "exact", "f1"),
    [
        (["the Eiffel Tower"], "Eiffel Tower!", 1.0, 1.0),
        (["Eiffel Tower"], "Tower", 0.0, 2 / 3),
        (["one", "two"], "two", 1.0, 1.0),
        ([], "", 1.0, 1.0),
        ([], "something", 0.0, 0.0),
    ],
)
def test_answer_metrics_follow_squad(
    answers: list[str], prediction: str, exact: float, f1: float
) -> None:
    report = metrics.answer_metrics([answers], [prediction])
    assert (report["exact_match"], report["f1"]) == pytest.approx((exact, f1))


def test_retrieval_skips_the_text_itself_and_singleton_groups() -> None:
    vectors = torch.tensor([[1, 0], [0.9, 0.1], [0, 1], [0.95, 0.05]])
    nearest = metrics.nearest_neighbours(vectors, 10)
    assert nearest.tolist() == [[3, 1, 2], [0, 3, 2], [1, 3, 0], [0, 1, 2]]
    # Text 1 belongs to 2 but lies nearer to 0 and 3; in the second case both are alone.
    report = metrics.retrieval_metrics(nearest, [{0}, {1}, {1}, {0}])
    assert (report["retrieval_at_1"], report["retrieval_at_5"]) == (0.75, 1.0)
    assert metrics.retrieval_metrics(nearest, [{0}, {1}, {2}, {0}])["retrieval_at_1"] == 1.0
    # A text of two groups is a hit for both.
    assert metrics.retrieval_metrics(nearest, [{0}, {1, 0}, {1}, {0}])["retrieval_at_1"] == 1.0


def test_singleton_groups_alone_give_no_retrieval_metrics_and_no_error() -> None:
    assert metrics.retrieval_metrics(np.array([[1], [0]]), [{0}, {1}]) == {}


def test_spearman_depends_on_the_order_only() -> None:
    report = metrics.correlation_metrics([0, 1, 5], np.array([-0.1, 0.2, 0.3]))
    assert report["spearman"] == pytest.approx(1)
    assert 0.5 < report["pearson"] < 1
    assert metrics.correlation_metrics([1, 1], np.array([0.1, 0.2])) == {}
    small, large = (
        metrics.correlation_metrics([scale, 2 * scale, 7 * scale], np.array([-0.1, 0.2, 0.3]))
        for scale in (1, 0.2e308)
    )
    assert large == pytest.approx(small), "the sum of the scores is no double"


def test_precision_and_recall_are_averaged_too() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]])
    report = metrics.single_label_metrics(np.array([0, 0, 1, 1]), probabilities, ["a", "b"])
    assert report["precision_macro"] == pytest.approx((1 + 2 / 3) / 2)
    assert report["recall_weighted"] == pytest.approx(0.75)


def test_wrong_examples_are_counted_and_listed_in_bounded_bytes() -> None:
    few = list_wrong_examples([{"example": 1}])
    assert few == {"wrong_examples": 1, "wrong": [{"example": 1}]}
    many = list_wrong_examples([{"example": n, "found": "x" * 10_000} for n in range(5_000)])
    assert many["wrong_examples"] == 5_000
    assert 50 < len(many["wrong"]) < 110
    assert "wrong_examples" not in metrics.scalar_metrics(many)
