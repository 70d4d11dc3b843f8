"""Embeddings trained on pairs, triplets, or texts of the same label, with in-batch negatives."""

import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from app.formats import FormatName, InvalidTrainingFile, iter_examples
from app.formats import classification as labelled
from app.formats import embedding as pairs
from app.formats.classification import LabelledText
from app.formats.embedding import ScoredTextPair, TextPair
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer, TokenizedText
from worker.training.encoders import metrics
from worker.training.encoders.contrastive import SIMILARITY_SCALE, ContrastiveObjective
from worker.training.encoders.objective import EvaluationReport, list_wrong_examples
from worker.training.encoders.rows import Array
from worker.training.objectives import LossOutput

# Retrieval is measured among at most this many texts of a file.
MAX_COMPARED_TEXTS = 20_000


@dataclass(frozen=True, slots=True)
class PairExample:
    """An anchor with a positive and possibly a hard negative.

    Texts of one `group` have the same meaning and are never each other's in-batch negatives. With
    `from_labels`, the positive is a random other text of the same label.
    """

    anchor: str
    positive: str
    negative: str | None
    group: str
    example_index: int
    from_labels: bool


@dataclass(frozen=True, slots=True, eq=False)
class TripletRow:
    """A tokenized PairExample.

    The groups of a text are those of all its occurrences in the file: a negative has some if it is
    also an anchor or a positive.
    """

    anchor: TokenizedText
    positive: TokenizedText
    negative: TokenizedText | None
    anchor_groups: Set[int]
    positive_groups: Set[int]
    negative_groups: Set[int]
    example_index: int
    from_labels: bool

    @property
    def num_tokens(self) -> int:
        negative = 0 if self.negative is None else len(self.negative.ids)
        return len(self.anchor.ids) + len(self.positive.ids) + negative

    @property
    def is_complete(self) -> bool:
        negative = self.negative is None or self.negative.is_complete
        return self.anchor.is_complete and self.positive.is_complete and negative

    @property
    def baseline_texts(self) -> Sequence[tuple[Hashable, TokenizedText]]:
        if self.from_labels:
            return ((self.example_index, self.anchor),)
        return tuple((_text_key(text), text) for text in (self.anchor, self.positive))


@dataclass(frozen=True, slots=True, eq=False)
class RetrievalCandidate:
    """A distinct text of a file, for the retrieval metrics.

    `groups` are those of all its occurrences; `example_index` is the first example with the text as
    its anchor, or else as its positive.
    """

    text: TokenizedText
    example_index: int
    groups: Set[int]


def read_examples(path: Path) -> list[PairExample] | list[ScoredTextPair]:
    """Read a file of pairs or triplets, of labelled texts (which are paired), or of scored pairs.

    Raises InvalidTrainingFile.
    """
    readers: dict[
        FormatName, Callable[[dict[str, Any]], TextPair | ScoredTextPair | LabelledText]
    ] = {
        FormatName.EMBEDDING: pairs.to_example,
        FormatName.CLASSIFICATION: labelled.to_example,
    }
    rows = list(iter_examples(path, readers))
    scored = [row for row in rows if isinstance(row, ScoredTextPair)]
    unscored = [
        PairExample(
            pair.anchor,
            pair.positive,
            pair.negative,
            pair.positive,
            example_index,
            from_labels=False,
        )
        for example_index, pair in enumerate(rows)
        if isinstance(pair, TextPair)
    ]
    return (
        scored
        or unscored
        or _pair_by_label([item for item in rows if isinstance(item, LabelledText)])
    )


def _pair_by_label(texts: Sequence[LabelledText]) -> list[PairExample]:
    """Pair the texts that have the same set of labels; texts without labels are skipped."""
    groups: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for example_index, item in enumerate(texts):
        if item.labels:
            groups["\0".join(sorted(item.labels))].append((item.text, example_index))
    if not groups:
        raise InvalidTrainingFile("No text has a label, so no pairs of similar texts can be made.")
    examples = []
    for label, members in sorted(groups.items()):
        # Seeded by the label: the pairs depend on the file, not on the job's seed.
        random.Random(label).shuffle(members)
        others = members[1:] + members[:1]
        for (text, example_index), (other, _) in zip(members, others, strict=True):
            examples.append(PairExample(text, other, None, label, example_index, from_labels=True))
    return examples


def infer_task(
    examples: Sequence[PairExample], length: int, tokenizer: EncoderTokenizer
) -> EncoderTask:
    """Infer the task; embeddings have no labels."""
    return EncoderTask(method="embedding", max_length=length)


def build_rows(
    examples: Sequence[PairExample], task: EncoderTask, tokenizer: EncoderTokenizer
) -> list[TripletRow]:
    """Tokenize the examples."""
    anchors = tokenizer.tokenize([item.anchor for item in examples])
    positives = tokenizer.tokenize([item.positive for item in examples])
    tokenized_negatives = iter(
        tokenizer.tokenize([item.negative for item in examples if item.negative is not None])
    )
    negatives = [None if item.negative is None else next(tokenized_negatives) for item in examples]
    groups = _group_ids([*anchors, *positives], [item.group for item in examples] * 2)
    return [
        TripletRow(
            anchor,
            positive,
            negative,
            groups[_text_key(anchor)],
            groups[_text_key(positive)],
            frozenset() if negative is None else groups.get(_text_key(negative), frozenset()),
            item.example_index,
            item.from_labels,
        )
        for item, anchor, positive, negative in zip(
            examples, anchors, positives, negatives, strict=True
        )
    ]


def _group_ids(texts: Iterable[TokenizedText], names: Sequence[str]) -> dict[bytes, Set[int]]:
    """Number the groups of each distinct text; `names` has the group of each occurrence."""
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    group_ids: dict[bytes, set[int]] = defaultdict(set)
    for text, name in zip(texts, names, strict=True):
        group_ids[_text_key(text)].add(numbers[name])
    return dict(group_ids)


class EmbeddingObjective(ContrastiveObjective[TripletRow]):
    """InfoNCE with in-batch and hard negatives (MultipleNegativesRankingLoss)."""

    metric = "retrieval_at_1"

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
        return LossOutput(loss=loss, num_items=len(rows), correct=correct)

    @torch.no_grad()
    def evaluate(self, rows: Sequence[TripletRow]) -> EvaluationReport:
        vectors = self.embed([item.text for item in retrieval_candidates(rows)])
        return self.score(rows, vectors.cpu().numpy())

    def served_inputs(
        self, rows: Sequence[TripletRow], examples: Sequence[PairExample]
    ) -> list[str]:
        texts: dict[bytes, str] = {}
        for row, example in zip(rows, examples, strict=False):
            texts.setdefault(_text_key(row.anchor), example.anchor)
            texts.setdefault(_text_key(row.positive), example.positive)
        return [texts[_text_key(item.text)] for item in retrieval_candidates(rows)]

    def score(self, rows: Sequence[TripletRow], predictions: Array) -> EvaluationReport:
        """See EncoderObjective; `predictions` are vectors of length 1 [candidates, width]."""
        candidates = retrieval_candidates(rows)
        vectors = torch.from_numpy(predictions)
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
        anchors.setdefault(_text_key(row.anchor), row.example_index)
    candidates: dict[bytes, RetrievalCandidate] = {}
    for row in rows:
        for text, groups in ((row.anchor, row.anchor_groups), (row.positive, row.positive_groups)):
            key = _text_key(text)
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
    return row.negative is not None and _text_key(row.negative) in (
        _text_key(row.anchor),
        _text_key(row.positive),
    )


def _text_key(text: TokenizedText) -> bytes:
    return text.ids.tobytes()


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
