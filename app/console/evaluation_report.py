"""Evaluation of a job's model, as its result file evaluation.json has it, for pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

# A matrix of more labels is a list of the pairs that are confused most.
MAX_MATRIX_LABELS = 25
MAX_CONFUSED_PAIRS = 40
# Scores between 0 and 100; all others are between 0 and 1, or correlations.
PERCENT_SCORES = ("bleu", "chrf")
METRIC_NAMES = {
    "exact_match": "Exact match",
    "token_f1": "Token F1",
    "json_valid": "Valid JSON",
    "json_field_match": "JSON fields",
    "bleu": "BLEU",
    "chrf": "chrF",
    "f1": "F1",
    "f1_macro": "F1, mean of labels",
    "f1_weighted": "F1, by frequency",
    "f1_micro": "F1, of all decisions",
    "roc_auc": "ROC AUC",
    "retrieval_at_1": "Nearest text is right",
    "retrieval_at_5": "One of 5 nearest is right",
    "retrieval_at_10": "One of 10 nearest is right",
    "spearman": "Spearman correlation",
    "pearson": "Pearson correlation",
}
# The first of these that a report has tells most.
MAIN_METRICS = (
    "exact_match",
    "accuracy",
    "f1",
    "retrieval_at_1",
    "spearman",
)


class Split(StrEnum):
    """The file that was measured."""

    TEST = "test"
    VALIDATION = "validation"


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric of both models; `base` is None where only the tuned one was measured."""

    name: str
    base: float | None
    tuned: float
    maximum: float

    @property
    def difference(self) -> float | None:
        return None if self.base is None else self.tuned - self.base


@dataclass(frozen=True, slots=True)
class Confusion:
    """Number of rows of each label that were given each other label.

    `shades` are 0 to 4, by the share of a label's rows; `pairs` are expected label, found label,
    rows, most first.
    """

    labels: Sequence[str]
    rows: Sequence[Sequence[int]]
    pairs: Sequence[tuple[str, str, int]]

    @property
    def is_readable(self) -> bool:
        return len(self.labels) <= MAX_MATRIX_LABELS

    def shade(self, count: int, row: Sequence[int]) -> int:
        return 0 if not count else 1 + min(3, int(4 * count / sum(row)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Accuracy by confidence. `error` is the expected calibration error; bins are parts of rows."""

    error: float
    bins: Sequence[Mapping[str, Any]]


def list_splits(report: Mapping[str, Any]) -> list[Split]:
    """List the files that a report is about."""
    has_validation = any(type(value) is float for value in report.values())
    return [
        split
        for split, is_there in ((Split.TEST, "test" in report), (Split.VALIDATION, has_validation))
        if is_there
    ]


def select_split(report: Mapping[str, Any], split: Split) -> Mapping[str, Any]:
    """Select the part of a report about one file."""
    part: Mapping[str, Any] = report["test"] if split is Split.TEST else report
    return part


def list_metrics(results: Mapping[str, Any]) -> list[MetricRow]:
    """List the metrics of a part of a report, or of a job's `test_results`."""
    tuned = results.get("tuned", results)
    base = results.get("base", {})
    return [
        MetricRow(
            name_metric(name), base.get(name), value, 100.0 if name in PERCENT_SCORES else 1.0
        )
        for name, value in tuned.items()
        if type(value) is float
    ]


def find_main_metric(results: Mapping[str, Any]) -> MetricRow | None:
    """Find the metric to show where only one fits."""
    tuned = results.get("tuned", results)
    for name in MAIN_METRICS:
        if type(tuned.get(name)) is float:
            return MetricRow(name_metric(name), results.get("base", {}).get(name), tuned[name], 1.0)
    return None


def name_metric(name: str) -> str:
    return METRIC_NAMES.get(name, name.replace("_", " ").capitalize())


def read_confusion(part: Mapping[str, Any]) -> Confusion | None:
    """Read the confusion matrix of one label per text; None if the report has none."""
    matrix = part.get("confusion_matrix")
    if not isinstance(matrix, dict) or not isinstance(matrix.get("labels"), list):
        return None
    labels: list[str] = matrix["labels"]
    rows: list[list[int]] = matrix["rows"]
    pairs = [
        (labels[expected], labels[found], count)
        for expected, row in enumerate(rows)
        for found, count in enumerate(row)
        if count and expected != found
    ]
    pairs.sort(key=lambda pair: -pair[2])
    return Confusion(labels, rows, pairs[:MAX_CONFUSED_PAIRS])


def read_calibration(part: Mapping[str, Any]) -> Calibration | None:
    """Read the calibration; None if an earlier version wrote the report, or it has none."""
    found = part.get("calibration")
    return None if not isinstance(found, dict) else Calibration(found["error"], found["bins"])


def list_labels(part: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float]]]:
    """List the labels with precision, recall, F1 and support, the worst first."""
    labels = part.get("per_label") or {}
    return sorted(labels.items(), key=lambda item: item[1].get("f1-score", 0.0))
