"""What a training file is like, measured as engines measure the texts they are asked about."""

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import chain
from typing import Any

from app import histogram_bins
from worker.encoding import vocab_coverage
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import TokenizedText
from worker.encoding.vocab_coverage import VocabCoverage
from worker.training.encoders.rows import EncoderRow, TextRow


def build_drift_baseline(
    task: EncoderTask, rows: Sequence[EncoderRow], *, unk_id: int | None
) -> dict[str, Any]:
    """For the job's row: plain values, and no text."""
    found = _unique_texts(rows)
    texts, origins = [text for _, text in found], [origin for origin, _ in found]
    return {
        "version": histogram_bins.VERSION,
        "method": task.method,
        "many": task.multi_label,
        "texts": len(texts),
        **vocab_coverage.baseline_histograms(texts, origins, unk_id=unk_id),
        **(_count_labels(task, rows) if task.method == "classification" else {}),
    }


def build_vocab_coverage(rows: Sequence[EncoderRow], *, unk_id: int | None) -> VocabCoverage:
    """The tokens that the rows have; `never` is the tokenizer's token for the unknown."""
    return VocabCoverage.from_texts([text for _, text in _unique_texts(rows)], unk_id=unk_id)


def _unique_texts(rows: Sequence[EncoderRow]) -> Sequence[tuple[Hashable, TokenizedText]]:
    """All texts with their origins; the same of the same origin, as of several pairs, once."""
    each = chain.from_iterable(row.baseline_texts for row in rows)
    return list({(origin, text.ids.tobytes()): (origin, text) for origin, text in each}.values())


def _count_labels(task: EncoderTask, rows: Sequence[EncoderRow]) -> dict[str, Any]:
    """The labels in the order in which engines number them, and how often each is there."""
    targets = [row.target for row in rows if isinstance(row, TextRow)]
    chosen = [target.nonzero()[0] if task.multi_label else target for target in targets]
    counts = Counter(int(place) for places in chosen for place in places)
    return {
        "labels": list(task.labels),
        "label_counts": dict(counts),
        "unlabelled": sum(len(places) == 0 for places in chosen),
    }
