"""Accuracy and F1 of a classifier, computed from counts of the texts with feedback.

Per label: true positives, false positives and false negatives. Counts can be summed over hours
and subtracted when feedback is corrected; averaged F1 values cannot.
"""

from collections.abc import Collection, Sequence

from app.monitoring.schemas import ClassificationMetrics, LabelMetrics
from app.monitoring.traffic import TrafficCounts, get_bin_counts, increment

LABELLED_TEXTS, CORRECT_TEXTS = "labelled", "correct"
TRUE_POSITIVES, FALSE_POSITIVES = "true_positives", "false_positives"
FALSE_NEGATIVES = "false_negatives"


def count_prediction(
    counts: TrafficCounts, predicted: Collection[int], true: Collection[int], times: int = 1
) -> None:
    """Count one text by its label indexes. `times=-1` reverts an earlier count."""
    predicted_set, true_set = set(predicted), set(true)
    increment(counts, "sums", LABELLED_TEXTS, times)
    if predicted_set == true_set:
        increment(counts, "sums", CORRECT_TEXTS, times)
    for label in predicted_set | true_set:
        if label not in predicted_set:
            kind = FALSE_NEGATIVES
        else:
            kind = TRUE_POSITIVES if label in true_set else FALSE_POSITIVES
        increment(counts, kind, label, times)


def compute_metrics(counts: TrafficCounts, labels: Sequence[str]) -> ClassificationMetrics | None:
    """Compute accuracy and F1 as scikit-learn defines them; macro F1 is over labels that were seen
    or predicted. None without feedback."""
    texts = counts.get("sums", {}).get(LABELLED_TEXTS, 0)
    if not texts:
        return None
    tp, fp, fn = (
        get_bin_counts(counts, kind) for kind in (TRUE_POSITIVES, FALSE_POSITIVES, FALSE_NEGATIVES)
    )
    seen = [n for n in range(len(labels)) if tp[n] or fp[n] or fn[n]]
    by_label = {n: _compute_label_metrics(tp[n], fp[n], fn[n]) for n in seen}
    support = sum(metrics.support for metrics in by_label.values())
    micro = _compute_label_metrics(*(sum(counter.values()) for counter in (tp, fp, fn)))
    macro_sum = sum(metrics.f1 for metrics in by_label.values())
    weighted_sum = sum(metrics.f1 * metrics.support for metrics in by_label.values())
    return ClassificationMetrics(
        texts=texts,
        accuracy=round(counts["sums"].get(CORRECT_TEXTS, 0) / texts, 4),
        f1_micro=micro.f1,
        f1_macro=round(macro_sum / max(1, len(by_label)), 4),
        f1_weighted=round(weighted_sum / max(1, support), 4),
        per_label={labels[n]: metrics for n, metrics in by_label.items()},
    )


def _compute_label_metrics(tp: int, fp: int, fn: int) -> LabelMetrics:
    """Compute the metrics of one label. Ratios with a zero denominator are 0."""
    return LabelMetrics(
        precision=round(tp / max(1, tp + fp), 4),
        recall=round(tp / max(1, tp + fn), 4),
        f1=round(2 * tp / max(1, 2 * tp + fp + fn), 4),
        support=tp + fn,
    )
