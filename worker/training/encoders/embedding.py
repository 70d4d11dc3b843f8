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
        return self.anchor.whole and self.positive.whole

    @property
    def texts(self) -> Sequence[Text]:
        return (self.anchor, self.positive)


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
        same = torch.from_numpy(_alike(rows)).to(anchors.device)
        likeness[:, : len(rows)].masked_fill_(same, -torch.inf)
        targets = torch.arange(len(rows), device=anchors.device)
        loss = functional.cross_entropy(likeness, targets, reduction="sum")
        right = (likeness.argmax(1) == targets).sum()
        return Score(loss=loss, count=len(rows), correct=right)

    @torch.no_grad()
    def evaluate(self, rows: Sequence[Triple]) -> Report:
        texts = [row.anchor for row in rows]
        groups = [row.group for row in rows]
        # A group of pairs is an anchor and its positive; of labels, all anchors that have it.
        if len(set(groups)) > len(groups) // 2:
            texts += [row.positive for row in rows]
            groups += groups
        nearest = metrics.nearest(self.vectors(texts[:MOST_COMPARED]), max(metrics.RANKS))
        members = np.array(groups[:MOST_COMPARED])
        report = Report(metrics.retrieval(nearest, members))
        report.update(listed(_astray(nearest, members, rows)))
        return report


def _alike(rows: Sequence[Triple]) -> NDArray[np.bool_]:
    """Which rows' positives are no negatives of a row [rows, rows]: of its group, or its anchor."""
    groups = np.array([row.group for row in rows])
    numbers: dict[bytes, int] = {}
    anchors = np.array([numbers.setdefault(row.anchor.ids.tobytes(), len(numbers)) for row in rows])
    same: NDArray[np.bool_] = (groups[:, None] == groups) | (anchors[:, None] == anchors)
    np.fill_diagonal(same, False)
    return same


def _astray(nearest: Array, groups: Array, rows: Sequence[Triple]) -> list[dict[str, Any]]:
    """The texts whose nearest is of another group, and the example that this one is of."""
    asked = np.bincount(groups)[groups] > 1
    lost = np.flatnonzero(asked & (groups[nearest[:, 0]] != groups))
    sources = [row.source + 1 for row in rows] * 2
    return [{"example": sources[place], "found": sources[nearest[place, 0]]} for place in lost]
