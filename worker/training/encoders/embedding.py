"""Texts that mean the same lie near each other: pairs, triplets, or texts of the same label."""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from app.formats import classification as labelled
from app.formats import embedding as pairs
from app.formats import read_as
from app.formats.classification import LabelledText
from app.formats.embedding import Likeness, Pair
from worker.encoding.task import Task
from worker.encoding.texts import Reader, Text
from worker.training.encoders import metrics
from worker.training.encoders.contrast import SCALE, Contrast
from worker.training.encoders.objective import Report, listed
from worker.training.encoders.rows import Array
from worker.training.objectives import Score

# Of a larger file so many texts are searched for among each other.
MOST_COMPARED = 20_000


@dataclass(frozen=True, slots=True)
class Grouped:
    """A text, one of the same meaning, and one of another if there is one.

    Texts of one `group` mean the same: none of them is held against another in a batch. `source`
    is the example's place in the file.
    """

    anchor: str
    positive: str
    negative: str | None
    group: str
    source: int


@dataclass(frozen=True, slots=True, eq=False)
class Triple:
    """A Grouped in tokens, with the numbers of its group and of its example."""

    anchor: Text
    positive: Text
    negative: Text | None
    group: int
    source: int

    @property
    def size(self) -> int:
        negative = 0 if self.negative is None else len(self.negative.ids)
        return len(self.anchor.ids) + len(self.positive.ids) + negative

    @property
    def key(self) -> bytes:
        return self.anchor.ids.tobytes() + self.positive.ids.tobytes()

    @property
    def whole(self) -> bool:
        negative = self.negative is None or self.negative.whole
        return self.anchor.whole and self.positive.whole and negative

    @property
    def texts(self) -> Sequence[Text]:
        return (self.anchor, self.positive)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A text of a file as it is searched for: once, however often it is written.

    `groups` are all that it is of; `source` is the first example that it is the anchor of, or if
    there is none, the positive.
    """

    text: Text
    source: int
    groups: set[int]


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
        Grouped(p.anchor, p.positive, p.negative, p.positive, source)
        for source, p in enumerate(rows)
        if isinstance(p, Pair)
    ]
    return scored or found or _paired([one for one in rows if isinstance(one, LabelledText)])


def _paired(texts: Sequence[LabelledText]) -> list[Grouped]:
    groups: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for source, one in enumerate(texts):
        groups["\0".join(one.labels)].append((one.text, source))
    found = []
    for label, members in sorted(groups.items()):
        # Of its own seed: the pairs belong to the file and not to a run.
        random.Random(label).shuffle(members)
        others = members[1:] + members[:1]
        for (text, source), (other, _) in zip(members, others, strict=True):
            found.append(Grouped(text, other, None, label, source))
    return found


def task_of(examples: Sequence[Grouped], length: int) -> Task:
    """An embedding has no labels."""
    return Task(method="embedding", length=length)


def rows_of(examples: Sequence[Grouped], task: Task, reader: Reader) -> list[Triple]:
    """The examples in tokens."""
    numbers = {group: number for number, group in enumerate(sorted({e.group for e in examples}))}
    anchors = reader.read([one.anchor for one in examples])
    positives = reader.read([one.positive for one in examples])
    negatives = iter(reader.read([one.negative for one in examples if one.negative is not None]))
    return [
        Triple(
            anchor,
            positive,
            None if one.negative is None else next(negatives),
            numbers[one.group],
            one.source,
        )
        for one, anchor, positive in zip(examples, anchors, positives, strict=True)
    ]


class Embedding(Contrast[Triple]):
    """Each anchor's positive is to be found among those of the batch, negatives being there too."""

    metric = "retrieval_at_1"

    def score(self, rows: Sequence[Triple]) -> Score:
        positives = [row.positive for row in rows]
        negatives = [row.negative for row in rows if row.negative is not None]
        vectors = self.vectors([*(row.anchor for row in rows), *positives, *negatives])
        anchors, others = vectors[: len(rows)], vectors[len(rows) :]
        likeness = SCALE * anchors @ others.T
        alike = np.hstack([_alike(rows), _mistaken(rows, negatives)])
        likeness.masked_fill_(torch.from_numpy(alike).to(anchors.device), -torch.inf)
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
        for text in (row.anchor, row.positive):
            key = _key(text)
            if key not in found and len(found) < MOST_COMPARED:
                found[key] = Place(text, anchors.get(key, row.source), set())
            if key in found:
                found[key].groups.add(row.group)
    return list(found.values())


def _alike(rows: Sequence[Triple]) -> NDArray[np.bool_]:
    """Which rows' positives are no negatives of a row [rows, rows]: of its group, or its anchor."""
    groups = np.array([row.group for row in rows])
    anchors = _numbers([row.anchor for row in rows])
    same: NDArray[np.bool_] = (groups[:, None] == groups) | (anchors[:, None] == anchors)
    np.fill_diagonal(same, False)
    return same


def _mistaken(rows: Sequence[Triple], negatives: Sequence[Text]) -> NDArray[np.bool_]:
    """Which negatives are none of a row [rows, negatives]: what one row shall lie far from may be
    the very text that another shall lie near."""
    count = len(rows)
    numbers = _numbers([*(r.anchor for r in rows), *(r.positive for r in rows), *negatives])
    anchors, positives, others = np.split(numbers, [count, 2 * count])
    mistaken: NDArray[np.bool_] = (anchors[:, None] == others) | (positives[:, None] == others)
    return mistaken


def _numbers(texts: Sequence[Text]) -> NDArray[np.int64]:
    """The same number for the same text [texts]."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(_key(text), len(numbers)) for text in texts], np.int64)


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
