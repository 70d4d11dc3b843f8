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

from app.formats import FaultyFile, read_as
from app.formats import classification as labelled
from app.formats import embedding as pairs
from app.formats.classification import LabelledText
from app.formats.embedding import Likeness, Pair
from worker.encoding.task import Task
from worker.encoding.tokenizer import Reader, Text
from worker.training.encoders import metrics
from worker.training.encoders.contrastive import SCALE, Contrast
from worker.training.encoders.objective import Report, listed
from worker.training.encoders.rows import Array
from worker.training.objectives import Score

# Of a larger file so many texts are searched for among each other.
MOST_COMPARED = 20_000


@dataclass(frozen=True, slots=True)
class Grouped:
    """A text, one of the same meaning, and one of another if there is one.

    Texts of one `group` mean the same: none of them is held against another in a batch. `source`
    is the example's place in the file. Where texts are `labelled`, the positive is that of another
    example, which is chosen by chance.
    """

    anchor: str
    positive: str
    negative: str | None
    group: str
    source: int
    labelled: bool


@dataclass(frozen=True, slots=True, eq=False)
class Triple:
    """A Grouped in tokens. The groups are all that a text is of anywhere in the file: a negative
    has some if it is an anchor or a positive, too."""

    anchor: Text
    positive: Text
    negative: Text | None
    anchor_groups: Set[int]
    positive_groups: Set[int]
    negative_groups: Set[int]
    source: int
    labelled: bool

    @property
    def size(self) -> int:
        negative = 0 if self.negative is None else len(self.negative.ids)
        return len(self.anchor.ids) + len(self.positive.ids) + negative

    @property
    def key(self) -> bytes:
        return _key(self.anchor) + (b"" if self.labelled else _key(self.positive))

    @property
    def whole(self) -> bool:
        negative = self.negative is None or self.negative.whole
        return self.anchor.whole and self.positive.whole and negative

    @property
    def texts(self) -> Sequence[tuple[Hashable, Text]]:
        if self.labelled:
            return ((self.source, self.anchor),)
        return tuple((_key(text), text) for text in (self.anchor, self.positive))


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A text of a file as it is searched for: once, however often it is written.

    `groups` are all that it is of; `source` is the first example that it is the anchor of, or if
    there is none, the positive.
    """

    text: Text
    source: int
    groups: Set[int]


def read_examples(path: Path) -> list[Grouped] | list[Likeness]:
    """Of pairs, triplets, or labelled texts, which are paired within a label; or scored pairs.

    Raises FaultyFile.
    """
    readers: dict[str, Callable[[dict[str, Any]], Pair | Likeness | LabelledText]] = {
        "embedding": pairs.example,
        "classification": labelled.example,
    }
    rows = list(read_as(path, readers))
    scored = [row for row in rows if isinstance(row, Likeness)]
    found = [
        Grouped(p.anchor, p.positive, p.negative, p.positive, source, labelled=False)
        for source, p in enumerate(rows)
        if isinstance(p, Pair)
    ]
    return scored or found or _paired([one for one in rows if isinstance(one, LabelledText)])


def _paired(texts: Sequence[LabelledText]) -> list[Grouped]:
    """Texts that have the same labels, in any order. Those that have none need not be alike."""
    groups: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for source, one in enumerate(texts):
        if one.labels:
            groups["\0".join(sorted(one.labels))].append((one.text, source))
    if not groups:
        raise FaultyFile("None of its texts has a label: nothing says which of them are alike.")
    found = []
    for label, members in sorted(groups.items()):
        # Of its own seed: the pairs belong to the file and not to a run.
        random.Random(label).shuffle(members)
        others = members[1:] + members[:1]
        for (text, source), (other, _) in zip(members, others, strict=True):
            found.append(Grouped(text, other, None, label, source, labelled=True))
    return found


def task_of(examples: Sequence[Grouped], length: int) -> Task:
    """An embedding has no labels."""
    return Task(method="embedding", length=length)


def rows_of(examples: Sequence[Grouped], task: Task, reader: Reader) -> list[Triple]:
    """The examples in tokens."""
    anchors = reader.read([one.anchor for one in examples])
    positives = reader.read([one.positive for one in examples])
    read = iter(reader.read([one.negative for one in examples if one.negative is not None]))
    negatives = [None if one.negative is None else next(read) for one in examples]
    groups = _groups([*anchors, *positives], [one.group for one in examples] * 2)
    return [
        Triple(
            anchor,
            positive,
            negative,
            groups[_key(anchor)],
            groups[_key(positive)],
            frozenset() if negative is None else groups.get(_key(negative), frozenset()),
            one.source,
            one.labelled,
        )
        for one, anchor, positive, negative in zip(
            examples, anchors, positives, negatives, strict=True
        )
    ]


def _groups(texts: Iterable[Text], names: Sequence[str]) -> dict[bytes, Set[int]]:
    """The numbers of all groups that a text is of; `names` has one of them for each time that it
    is written."""
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    found: dict[bytes, set[int]] = defaultdict(set)
    for text, name in zip(texts, names, strict=True):
        found[_key(text)].add(numbers[name])
    return dict(found)


class Embedding(Contrast[Triple]):
    """Each anchor's positive is to be found among those of the batch, negatives being there too."""

    metric = "retrieval_at_1"

    def score(self, rows: Sequence[Triple]) -> Score:
        positives = [row.positive for row in rows]
        negatives = [row.negative for row in rows if row.negative is not None]
        vectors = self.vectors([*(row.anchor for row in rows), *positives, *negatives])
        anchors, others = vectors[: len(rows)], vectors[len(rows) :]
        likeness = SCALE * anchors @ others.T
        alike = torch.from_numpy(no_negatives(rows)).to(anchors.device)
        likeness.masked_fill_(alike, -torch.inf)
        targets = torch.arange(len(rows), device=anchors.device)
        loss = functional.cross_entropy(likeness, targets, reduction="sum")
        right = (likeness.argmax(1) == targets).sum()
        return Score(loss=loss, count=len(rows), correct=right)

    @torch.no_grad()
    def evaluate(self, rows: Sequence[Triple]) -> Report:
        found = places(rows)
        vectors = self.vectors([one.text for one in found])
        nearest = metrics.nearest(vectors, max(metrics.RANKS))
        groups = [one.groups for one in found]
        report = Report(metrics.retrieval(nearest, groups))
        report.update(listed(_astray(nearest, found)))
        return report


def can_be_measured(rows: Sequence[Triple]) -> bool:
    """Whether any text has another of its group that could be found."""
    return bool(metrics.having_others([one.groups for one in places(rows)]))


def places(rows: Sequence[Triple]) -> list[Place]:
    """The texts of a file, or the first of a large one. Copies of a text would be found at once,
    or be taken for a mistake where it is in two groups."""
    anchors: dict[bytes, int] = {}
    for row in rows:
        anchors.setdefault(_key(row.anchor), row.source)
    found: dict[bytes, Place] = {}
    for row in rows:
        for text, groups in ((row.anchor, row.anchor_groups), (row.positive, row.positive_groups)):
            key = _key(text)
            if key not in found:
                found[key] = Place(text, anchors.get(key, row.source), groups)
        # A pair is in it whole: an anchor alone could not find what it belongs to.
        if len(found) >= MOST_COMPARED:
            break
    return list(found.values())


def no_negatives(rows: Sequence[Triple]) -> NDArray[np.bool_]:
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
        alike[place, column] = _stands_twice(rows[place])
    return alike


def _stands_twice(row: Triple) -> bool:
    """Whether the negative is the anchor or the positive."""
    return row.negative is not None and _key(row.negative) in (_key(row.anchor), _key(row.positive))


def _key(text: Text) -> bytes:
    return text.ids.tobytes()


def _astray(nearest: Array, found: Sequence[Place]) -> list[dict[str, Any]]:
    """The texts whose nearest is of no group of theirs, and the example that this one is of."""
    pairs = [
        (found[place], found[nearest[place, 0]])
        for place in metrics.having_others([one.groups for one in found])
    ]
    return [
        {"example": asked.source + 1, "found": near.source + 1}
        for asked, near in pairs
        if asked.groups.isdisjoint(near.groups)
    ]
