"""What a training file is like, measured as engines measure the texts they are asked about."""

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import chain
from typing import Any

from app import histogram_bins
from worker.encoding import vocab_coverage
from worker.encoding.task import Task
from worker.encoding.tokenizer import Text
from worker.encoding.vocab_coverage import Familiar
from worker.training.encoders.rows import AnyRow, Row


def reference(task: Task, rows: Sequence[AnyRow], *, never: int | None) -> dict[str, Any]:
    """For the job's row: plain values, and no text."""
    found = _texts(rows)
    texts, origins = [text for _, text in found], [origin for origin, _ in found]
    return {
        "version": histogram_bins.VERSION,
        "method": task.method,
        "many": task.many,
        "texts": len(texts),
        **vocab_coverage.reference(texts, origins, never=never),
        **(_labels(task, rows) if task.method == "classification" else {}),
    }


def familiar(rows: Sequence[AnyRow], *, never: int | None) -> Familiar:
    """The tokens that the rows have; `never` is the tokenizer's token for the unknown."""
    return Familiar.to([text for _, text in _texts(rows)], never=never)


def _texts(rows: Sequence[AnyRow]) -> Sequence[tuple[Hashable, Text]]:
    """All texts with their origins; the same of the same origin, as of several pairs, once."""
    each = chain.from_iterable(row.texts for row in rows)
    return list({(origin, text.ids.tobytes()): (origin, text) for origin, text in each}.values())


def _labels(task: Task, rows: Sequence[AnyRow]) -> dict[str, Any]:
    """The labels in the order in which engines number them, and how often each is there."""
    targets = [row.target for row in rows if isinstance(row, Row)]
    chosen = [target.nonzero()[0] if task.many else target for target in targets]
    counts = Counter(int(place) for places in chosen for place in places)
    return {
        "labels": list(task.labels),
        "label_counts": dict(counts),
        "unlabelled": sum(len(places) == 0 for places in chosen),
    }
