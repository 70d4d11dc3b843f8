"""Embeddings trained on pairs, triplets, or texts of the same label, with in-batch negatives."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from worker.encoding.rows.embedding import PairExample, TripletRow, text_key
from worker.encoding.tokenizer import TokenizedText
from worker.training.encoders import metrics
from worker.training.encoders.contrastive import SIMILARITY_SCALE, ContrastiveObjective
from worker.training.encoders.micro_batches import Array
from worker.training.encoders.objective import EvaluationReport, list_wrong_examples
from worker.training.objectives import LossOutput
from worker.training.validation import Parts

# Retrieval is measured among at most this many texts of a file.
MAX_COMPARED_TEXTS = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class RetrievalCandidate:
    """A distinct text of a file, for the retrieval metrics.

    `groups` are those of all its occurrences; `example_index` is the first example with the text as
    its anchor, or else as its positive.
    """

    text: TokenizedText
    example_index: int
    groups: Set[int]


class EmbeddingObjective(ContrastiveObjective[TripletRow]):
    """InfoNCE with in-batch and hard negatives (MultipleNegativesRankingLoss)."""

    metric = "retrieval_at_1"
    max_measured_rows = MAX_COMPARED_TEXTS

    def compute_loss(self, rows: Sequence[TripletRow]) -> LossOutput:
        positives = [row.positive for row in rows]
        negatives = [row.negative for row in rows if row.negative is not None]
        vectors = self.embed([*(row.anchor for row in rows), *positives, *negatives])
        anchors, others = vectors[: len(rows)], vectors[len(rows) :]
        similarity = SIMILARITY_SCALE * anchors @ others.T
        mask = torch.from_numpy(false_negative_mask(rows)).to(anchors.device)
        similarity.masked_fill_(mask, -torch.inf)
        targets = torch.arange(len(rows), device=anchors.device)
        loss = functional.cross_entropy(similarity, targets, reduction="sum")
        correct = (similarity.argmax(1) == targets).sum()
        return LossOutput(
            loss=loss,
            correct=correct,
            outputs=vectors[: 2 * len(rows)].detach(),
        )

    def evaluate(self, rows: Sequence[TripletRow]) -> EvaluationReport:
        return self.measure([(rows, None)])

    @torch.no_grad()
    def measure(self, parts: Parts[TripletRow]) -> EvaluationReport:
        """See EncoderObjective; texts without an output are embedded."""
        vectors: dict[bytes, Tensor] = {}
        for part, outputs in parts:
            if outputs is not None:
                texts = [*(row.anchor for row in part), *(row.positive for row in part)]
                vectors |= zip(map(text_key, texts), outputs, strict=True)
        candidates = retrieval_candidates([row for part, _ in parts for row in part])
        missing = [item.text for item in candidates if text_key(item.text) not in vectors]
        if missing:
            vectors |= zip(map(text_key, missing), self.embed(missing).cpu(), strict=True)
        return _report(candidates, torch.stack([vectors[text_key(c.text)] for c in candidates]))

    def served_inputs(
        self, rows: Sequence[TripletRow], examples: Sequence[PairExample]
    ) -> list[str]:
        texts: dict[bytes, str] = {}
        for row, example in zip(rows, examples, strict=False):
            texts.setdefault(text_key(row.anchor), example.anchor)
            texts.setdefault(text_key(row.positive), example.positive)
        return [texts[text_key(item.text)] for item in retrieval_candidates(rows)]

    def score(self, rows: Sequence[TripletRow], predictions: Array) -> EvaluationReport:
        """See EncoderObjective; `predictions` are vectors of length 1 [candidates, width]."""
        return _report(retrieval_candidates(rows), torch.from_numpy(predictions))


def _report(candidates: Sequence[RetrievalCandidate], vectors: Tensor) -> EvaluationReport:
    nearest = metrics.nearest_neighbours(vectors, max(metrics.RETRIEVAL_KS))
    groups = [item.groups for item in candidates]
    report = EvaluationReport(metrics.retrieval_metrics(nearest, groups))
    report.update(list_wrong_examples(_list_misretrieved(nearest, candidates)))
    return report


def has_retrieval_targets(rows: Sequence[TripletRow]) -> bool:
    """True if any text has another text of its group in the file."""
    return bool(metrics.indices_with_positive([item.groups for item in retrieval_candidates(rows)]))


def retrieval_candidates(rows: Sequence[TripletRow]) -> list[RetrievalCandidate]:
    """List the distinct texts of a file, or the first ones of a large file.

    Duplicates are skipped: a text would always retrieve its copy, which would count as a mistake
    if the copy is in another group.
    """
    anchors: dict[bytes, int] = {}
    for row in rows:
        anchors.setdefault(text_key(row.anchor), row.example_index)
    candidates: dict[bytes, RetrievalCandidate] = {}
    for row in rows:
        for text, groups in ((row.anchor, row.anchor_groups), (row.positive, row.positive_groups)):
            key = text_key(text)
            if key not in candidates:
                candidates[key] = RetrievalCandidate(
                    text, anchors.get(key, row.example_index), groups
                )
        # Checked after whole pairs only: an anchor without its positive has nothing to retrieve.
        if len(candidates) >= MAX_COMPARED_TEXTS:
            break
    return list(candidates.values())


def false_negative_mask(rows: Sequence[TripletRow]) -> NDArray[np.bool_]:
    """Compute the mask of in-batch false negatives [rows, positives and then negatives].

    These are the candidates that share a group with the row's anchor anywhere in the file, or equal
    it. A row's own negative is never masked, unless it equals the row's anchor or positive.
    """
    negatives = [index for index, row in enumerate(rows) if row.negative is not None]
    groups = [row.positive_groups for row in rows]
    groups += [rows[index].negative_groups for index in negatives]
    # Rows share the set of a text. One text may be in as many groups as the file has rows, so each
    # two sets are compared once.
    shared = {
        (id(first), id(second)): not first.isdisjoint(second)
        for first in {id(row.anchor_groups): row.anchor_groups for row in rows}.values()
        for second in {id(item): item for item in groups}.values()
    }
    mask = np.array([[shared[id(row.anchor_groups), id(item)] for item in groups] for row in rows])
    np.fill_diagonal(mask, False)
    for column, index in enumerate(negatives, start=len(rows)):
        mask[index, column] = _is_duplicate_negative(rows[index])
    return mask


def _is_duplicate_negative(row: TripletRow) -> bool:
    """True if the row's negative equals its anchor or positive."""
    return row.negative is not None and text_key(row.negative) in (
        text_key(row.anchor),
        text_key(row.positive),
    )


def _list_misretrieved(
    nearest: Array, candidates: Sequence[RetrievalCandidate]
) -> list[dict[str, Any]]:
    """List the texts whose nearest neighbour shares no group with them; example numbers from 1."""
    pairs = [
        (candidates[index], candidates[nearest[index, 0]])
        for index in metrics.indices_with_positive([item.groups for item in candidates])
    ]
    return [
        {"example": query.example_index + 1, "found": neighbour.example_index + 1}
        for query, neighbour in pairs
        if query.groups.isdisjoint(neighbour.groups)
    ]
