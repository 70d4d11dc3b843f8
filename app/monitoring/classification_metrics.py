"""How right a classifier was, from counts that feedback adds to one by one.

For each label: texts that have it and were given it (true positives), that were given it and do
not have it (false positives), that have it and were not given it (false negatives). They can be
added up over hours and taken back when feedback is corrected, which the texts' own F1 cannot.
"""

from collections.abc import Collection, Sequence

from app.monitoring.schemas import LabelQuality, Quality
from app.monitoring.traffic import Tally, count, counts_of

JUDGED, RIGHT = "judged", "right"
TRUE, FALSE, MISSED = "true_positives", "false_positives", "false_negatives"


def judge(tally: Tally, found: Collection[int], truth: Collection[int], times: int = 1) -> None:
    """Count one text; with `times` -1 take back what was counted of it."""
    count(tally, "sums", JUDGED, times)
    if set(found) == set(truth):
        count(tally, "sums", RIGHT, times)
    for place in {*found, *truth}:
        kind = MISSED if place not in found else TRUE if place in truth else FALSE
        count(tally, kind, place, times)


def of(total: Tally, labels: Sequence[str]) -> Quality | None:
    """Accuracy and F1 as scikit-learn defines them (macro: over labels that were seen or given);
    None without feedback."""
    judged = total.get("sums", {}).get(JUDGED, 0)
    if not judged:
        return None
    hits, false, missed = (counts_of(total, kind) for kind in (TRUE, FALSE, MISSED))
    seen = [p for p in range(len(labels)) if hits[p] or false[p] or missed[p]]
    each = {place: _label(hits[place], false[place], missed[place]) for place in seen}
    support = sum(one.support for one in each.values())
    return Quality(
        texts=judged,
        accuracy=round(total["sums"].get(RIGHT, 0) / judged, 4),
        f1_micro=_label(*(sum(counts.values()) for counts in (hits, false, missed))).f1,
        f1_macro=round(sum(one.f1 for one in each.values()) / max(1, len(each)), 4),
        f1_weighted=round(sum(one.f1 * one.support for one in each.values()) / max(1, support), 4),
        per_label={labels[place]: one for place, one in each.items()},
    )


def _label(hits: int, false: int, missed: int) -> LabelQuality:
    """Where a share would be of nothing, it is 0."""
    return LabelQuality(
        precision=round(hits / max(1, hits + false), 4),
        recall=round(hits / max(1, hits + missed), 4),
        f1=round(2 * hits / max(1, 2 * hits + false + missed), 4),
        support=hits + missed,
    )
