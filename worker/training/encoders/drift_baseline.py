"""Drift baseline: statistics of a training file, computed as engines compute that of traffic."""

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import chain
from typing import Any

from app import histogram_bins
from worker.encoding import vocab_coverage
from worker.encoding.rows.row import EncoderRow, TextRow
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import TokenizedText
from worker.encoding.vocab_coverage import VocabCoverage


def build_drift_baseline(
    task: EncoderTask, rows: Sequence[EncoderRow], *, unk_id: int | None
) -> dict[str, Any]:
    """Build the baseline stored with the job: plain numbers and labels, no text."""
    texts_with_sources = _unique_texts(rows)
    texts, source_ids = (
        [text for _, text in texts_with_sources],
        [source_id for source_id, _ in texts_with_sources],
    )
    return {
        "version": histogram_bins.VERSION,
        "method": task.method,
        "multi_label": task.multi_label,
        "texts": len(texts),
        **vocab_coverage.baseline_histograms(texts, source_ids, unk_id=unk_id),
        **(_count_labels(task, rows) if task.method == "classification" else {}),
    }


def build_vocab_coverage(rows: Sequence[EncoderRow], *, unk_id: int | None) -> VocabCoverage:
    """Collect the token ids of the rows, without the unknown token `unk_id`."""
    return VocabCoverage.from_texts([text for _, text in _unique_texts(rows)], unk_id=unk_id)


def _unique_texts(rows: Sequence[EncoderRow]) -> Sequence[tuple[Hashable, TokenizedText]]:
    """List all texts with their source ids, without duplicates within a source."""
    pairs = chain.from_iterable(row.baseline_texts for row in rows)
    return list(
        {(source_id, text.ids.tobytes()): (source_id, text) for source_id, text in pairs}.values()
    )


def _count_labels(task: EncoderTask, rows: Sequence[EncoderRow]) -> dict[str, Any]:
    """Count the labels, which are indexed in the order of the head's outputs."""
    targets = [row.target for row in rows if isinstance(row, TextRow)]
    label_indices = [target.nonzero()[0] if task.multi_label else target for target in targets]
    counts = Counter(int(index) for indices in label_indices for index in indices)
    return {
        "labels": list(task.labels),
        "label_counts": dict(counts),
        "unlabelled": sum(len(indices) == 0 for indices in label_indices),
    }
