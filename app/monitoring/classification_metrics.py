"""How right a classifier was, from counts that feedback adds to one by one.

For each label: texts that have it and were given it (true positives), that were given it and do
not have it (false positives), that have it and were not given it (false negatives). They can be
added up over hours and taken back when feedback is corrected, which the texts' own F1 cannot.
"""

from collections.abc import Collection, Sequence

from app.monitoring.schemas import ClassificationMetrics, LabelMetrics
from app.monitoring.traffic import TrafficCounts, bin_counts, increment

LABELLED_TEXTS, CORRECT_TEXTS = "judged", "right"
TRUE_POSITIVES, FALSE_POSITIVES, FALSE_NEGATIVES = (
    "true_positives",
    "false_positives",
    "false_negatives",
)


def count_prediction(
    tally: TrafficCounts, found: Collection[int], truth: Collection[int], times: int = 1
) -> None:
    """Count one text; with `times` -1 take back what was counted of it."""
    increment(tally, "sums", LABELLED_TEXTS, times)
    if set(found) == set(truth):
        increment(tally, "sums", CORRECT_TEXTS, times)
    for place in {*found, *truth}:
        kind = (
            FALSE_NEGATIVES
            if place not in found
            else TRUE_POSITIVES
            if place in truth
            else FALSE_POSITIVES
        )
        increment(tally, kind, place, times)


def compute_metrics(total: TrafficCounts, labels: Sequence[str]) -> ClassificationMetrics | None:
    """Accuracy and F1 as scikit-learn defines them (macro: over labels that were seen or given);
    None without feedback."""
    judged = total.get("sums", {}).get(LABELLED_TEXTS, 0)
    if not judged:
        return None
    hits, false, missed = (
        bin_counts(total, kind) for kind in (TRUE_POSITIVES, FALSE_POSITIVES, FALSE_NEGATIVES)
    )
    seen = [p for p in range(len(labels)) if hits[p] or false[p] or missed[p]]
    each = {place: _label_metrics(hits[place], false[place], missed[place]) for place in seen}
    support = sum(one.support for one in each.values())
    return ClassificationMetrics(
        texts=judged,
        accuracy=round(total["sums"].get(CORRECT_TEXTS, 0) / judged, 4),
        f1_micro=_label_metrics(*(sum(counts.values()) for counts in (hits, false, missed))).f1,
        f1_macro=round(sum(one.f1 for one in each.values()) / max(1, len(each)), 4),
        f1_weighted=round(sum(one.f1 * one.support for one in each.values()) / max(1, support), 4),
        per_label={labels[place]: one for place, one in each.items()},
    )


def _label_metrics(hits: int, false: int, missed: int) -> LabelMetrics:
    """Where a share would be of nothing, it is 0."""
    return LabelMetrics(
        precision=round(hits / max(1, hits + false), 4),
        recall=round(hits / max(1, hits + missed), 4),
        f1=round(2 * hits / max(1, 2 * hits + false + missed), 4),
        support=hits + missed,
    )
