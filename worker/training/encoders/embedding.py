"""Texts that mean the same lie near each other: pairs, triplets, or texts of the same label."""

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

from app.formats import InvalidTrainingFile, iter_examples
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

# Of a larger file so many texts are searched for among each other.
MAX_COMPARED_TEXTS = 20_000


@dataclass(frozen=True, slots=True)
class PairExample:
    """A text, one of the same meaning, and one of another if there is one.

    Texts of one `group` mean the same: none of them is held against another in a batch. `source`
    is the example's place in the file. Where texts are `labelled`, the positive is that of another
    example, which is chosen by chance.
    """

    anchor: str
    positive: str
    negative: str | None
    group: str
    example_index: int
    from_labels: bool


@dataclass(frozen=True, slots=True, eq=False)
class TripletRow:
    """A Grouped in tokens. The groups are all that a text is of anywhere in the file: a negative
    has some if it is an anchor or a positive, too."""

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
    def key(self) -> bytes:
        return _text_key(self.anchor) + (b"" if self.from_labels else _text_key(self.positive))

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
    """A text of a file as it is searched for: once, however often it is written.

    `groups` are all that it is of; `source` is the first example that it is the anchor of, or if
    there is none, the positive.
    """

    text: TokenizedText
    example_index: int
    groups: Set[int]


def read_examples(path: Path) -> list[PairExample] | list[ScoredTextPair]:
    """Of pairs, triplets, or labelled texts, which are paired within a label; or scored pairs.

    Raises FaultyFile.
    """
    readers: dict[str, Callable[[dict[str, Any]], TextPair | ScoredTextPair | LabelledText]] = {
        "embedding": pairs.to_example,
        "classification": labelled.to_example,
    }
    rows = list(iter_examples(path, readers))
    scored = [row for row in rows if isinstance(row, ScoredTextPair)]
    found = [
        PairExample(p.anchor, p.positive, p.negative, p.positive, source, from_labels=False)
        for source, p in enumerate(rows)
        if isinstance(p, TextPair)
    ]
    return scored or found or _pair_by_label([one for one in rows if isinstance(one, LabelledText)])


def _pair_by_label(texts: Sequence[LabelledText]) -> list[PairExample]:
    """Texts that have the same labels, in any order. Those that have none need not be alike."""
    groups: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for source, one in enumerate(texts):
        if one.labels:
            groups["\0".join(sorted(one.labels))].append((one.text, source))
    if not groups:
        raise InvalidTrainingFile(
            "None of its texts has a label: nothing says which of them are alike."
        )
    found = []
    for label, members in sorted(groups.items()):
        # Of its own seed: the pairs belong to the file and not to a run.
        random.Random(label).shuffle(members)
        others = members[1:] + members[:1]
        for (text, source), (other, _) in zip(members, others, strict=True):
            found.append(PairExample(text, other, None, label, source, from_labels=True))
    return found


def infer_task(examples: Sequence[PairExample], length: int) -> EncoderTask:
    """An embedding has no labels."""
    return EncoderTask(method="embedding", max_length=length)


def build_rows(
    examples: Sequence[PairExample], task: EncoderTask, reader: EncoderTokenizer
) -> list[TripletRow]:
    """The examples in tokens."""
    anchors = reader.tokenize([one.anchor for one in examples])
    positives = reader.tokenize([one.positive for one in examples])
    read = iter(reader.tokenize([one.negative for one in examples if one.negative is not None]))
    negatives = [None if one.negative is None else next(read) for one in examples]
    groups = _group_ids([*anchors, *positives], [one.group for one in examples] * 2)
    return [
        TripletRow(
            anchor,
            positive,
            negative,
            groups[_text_key(anchor)],
            groups[_text_key(positive)],
            frozenset() if negative is None else groups.get(_text_key(negative), frozenset()),
            one.example_index,
            one.from_labels,
        )
        for one, anchor, positive, negative in zip(
            examples, anchors, positives, negatives, strict=True
        )
    ]


def _group_ids(texts: Iterable[TokenizedText], names: Sequence[str]) -> dict[bytes, Set[int]]:
    """The numbers of all groups that a text is of; `names` has one of them for each time that it
    is written."""
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    found: dict[bytes, set[int]] = defaultdict(set)
    for text, name in zip(texts, names, strict=True):
        found[_text_key(text)].add(numbers[name])
    return dict(found)


class EmbeddingObjective(ContrastiveObjective[TripletRow]):
    """Each anchor's positive is to be found among those of the batch, negatives being there too."""

    metric = "retrieval_at_1"

    def compute_loss(self, rows: Sequence[TripletRow]) -> LossOutput:
        positives = [row.positive for row in rows]
        negatives = [row.negative for row in rows if row.negative is not None]
        vectors = self.embed([*(row.anchor for row in rows), *positives, *negatives])
        anchors, others = vectors[: len(rows)], vectors[len(rows) :]
        likeness = SIMILARITY_SCALE * anchors @ others.T
        alike = torch.from_numpy(false_negative_mask(rows)).to(anchors.device)
        likeness.masked_fill_(alike, -torch.inf)
        targets = torch.arange(len(rows), device=anchors.device)
        loss = functional.cross_entropy(likeness, targets, reduction="sum")
        right = (likeness.argmax(1) == targets).sum()
        return LossOutput(loss=loss, num_items=len(rows), correct=right)

    @torch.no_grad()
    def evaluate(self, rows: Sequence[TripletRow]) -> EvaluationReport:
        found = retrieval_candidates(rows)
        vectors = self.embed([one.text for one in found])
        nearest = metrics.nearest_neighbours(vectors, max(metrics.RETRIEVAL_KS))
        groups = [one.groups for one in found]
        report = EvaluationReport(metrics.retrieval_metrics(nearest, groups))
        report.update(list_wrong_examples(_misretrieved(nearest, found)))
        return report


def has_retrieval_targets(rows: Sequence[TripletRow]) -> bool:
    """Whether any text has another of its group that could be found."""
    return bool(metrics.indices_with_positive([one.groups for one in retrieval_candidates(rows)]))


def retrieval_candidates(rows: Sequence[TripletRow]) -> list[RetrievalCandidate]:
    """The texts of a file, or the first of a large one. Copies of a text would be found at once,
    or be taken for a mistake where it is in two groups."""
    anchors: dict[bytes, int] = {}
    for row in rows:
        anchors.setdefault(_text_key(row.anchor), row.example_index)
    found: dict[bytes, RetrievalCandidate] = {}
    for row in rows:
        for text, groups in ((row.anchor, row.anchor_groups), (row.positive, row.positive_groups)):
            key = _text_key(text)
            if key not in found:
                found[key] = RetrievalCandidate(text, anchors.get(key, row.example_index), groups)
        # A pair is in it whole: an anchor alone could not find what it belongs to.
        if len(found) >= MAX_COMPARED_TEXTS:
            break
    return list(found.values())


def false_negative_mask(rows: Sequence[TripletRow]) -> NDArray[np.bool_]:
    """Which texts of a batch are not to lie far from a row's anchor [rows, positives and then
    negatives]: those that share a group with it anywhere in the file, and copies of itself. Of the
    row's own negative the file says that it is one, unless it is the row's anchor or positive.
    """
    negatives = [place for place, row in enumerate(rows) if row.negative is not None]
    groups = [row.positive_groups for row in rows]
    groups += [rows[place].negative_groups for place in negatives]
    alike = np.array([[not row.anchor_groups.isdisjoint(one) for one in groups] for row in rows])
    np.fill_diagonal(alike, False)
    for column, place in enumerate(negatives, start=len(rows)):
        alike[place, column] = _is_duplicate_negative(rows[place])
    return alike


def _is_duplicate_negative(row: TripletRow) -> bool:
    """Whether the negative is the anchor or the positive."""
    return row.negative is not None and _text_key(row.negative) in (
        _text_key(row.anchor),
        _text_key(row.positive),
    )


def _text_key(text: TokenizedText) -> bytes:
    return text.ids.tobytes()


def _misretrieved(nearest: Array, found: Sequence[RetrievalCandidate]) -> list[dict[str, Any]]:
    """The texts whose nearest is of no group of theirs, and the example that this one is of."""
    pairs = [
        (found[place], found[nearest[place, 0]])
        for place in metrics.indices_with_positive([one.groups for one in found])
    ]
    return [
        {"example": asked.example_index + 1, "found": near.source + 1}
        for asked, near in pairs
        if asked.groups.isdisjoint(near.groups)
    ]
