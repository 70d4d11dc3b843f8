"""Texts that mean the same lie near each other."""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from app.formats import classification as labelled
from app.formats import embedding as pairs
from app.formats import read_as
from worker.encoding.backbone import normalised
from worker.encoding.task import Task
from worker.encoding.texts import Reader, Text
from worker.training.encoders import metrics
from worker.training.encoders.model import Encoder
from worker.training.encoders.objective import Batches, Report
from worker.training.encoders.rows import Array
from worker.training.objectives import Score

# What cosines are multiplied with before the softmax, as sentence-transformers has it.
SCALE = 20.0


@dataclass(frozen=True, slots=True)
class Grouped:
    """A text, one of the same meaning, and one of another if there is one.

    Texts of one `group` mean the same: none of them is held against another in a batch.
    """

    anchor: str
    positive: str
    negative: str | None
    group: str


@dataclass(frozen=True, slots=True, eq=False)
class Triple:
    """A Grouped in tokens, with the number of its group."""

    anchor: Text
    positive: Text
    negative: Text | None
    group: int

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


def read_examples(path: Path) -> list[Grouped]:
    """Of pairs, triplets, or labelled texts, which are paired within a label. Raises FaultyFile."""
    rows: list[pairs.Pair | labelled.LabelledText] = list(
        read_as(path, {"embedding": pairs.example, "classification": labelled.example})
    )
    found = [
        Grouped(p.anchor, p.positive, p.negative, p.positive)
        for p in rows
        if isinstance(p, pairs.Pair)
    ]
    return found or _paired([one for one in rows if isinstance(one, labelled.LabelledText)])


def _paired(texts: Sequence[labelled.LabelledText]) -> list[Grouped]:
    groups: dict[str, list[str]] = defaultdict(list)
    for one in texts:
        groups["\0".join(one.labels)].append(one.text)
    found = []
    for label, members in sorted(groups.items()):
        # Of its own seed: the pairs belong to the file and not to a run.
        random.Random(label).shuffle(members)
        for text, other in zip(members, members[1:] + members[:1], strict=True):
            found.append(Grouped(text, other, None, label))
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
            anchor, positive, None if one.negative is None else next(negatives), numbers[one.group]
        )
        for one, anchor, positive in zip(examples, anchors, positives, strict=True)
    ]


class Embedding(Batches[Triple]):
    """Each anchor's positive is to be found among those of the batch, negatives being there too."""

    metric = "retrieval_at_1"

    def __init__(self, encoder: Encoder, *, max_tokens: int, max_rows: int | None) -> None:
        super().__init__(encoder, max_tokens=max_tokens, max_rows=max_rows)

    def split(self, rows: Sequence[Triple]) -> Iterable[Sequence[Triple]]:
        """The other rows of a batch are what a row is told apart from, so it is never cut."""
        return [rows]

    def count(self, rows: Sequence[Triple]) -> int:
        return len(rows)

    def score(self, rows: Sequence[Triple]) -> Score:
        anchors = self._vectors([row.anchor for row in rows])
        negatives = [row.negative for row in rows if row.negative is not None]
        others = self._vectors([*(row.positive for row in rows), *negatives])
        likeness = SCALE * anchors @ others.T
        groups = torch.tensor([row.group for row in rows], device=anchors.device)
        same = groups[:, None] == groups[None]
        same.fill_diagonal_(False)
        likeness[:, : len(rows)].masked_fill_(same, -1e9)
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
        return Report(metrics.retrieval(self._all_vectors(texts), np.array(groups)))

    def _vectors(self, texts: Sequence[Text]) -> Tensor:
        return normalised(self.encoder.vectors(texts))

    def _all_vectors(self, texts: Sequence[Text]) -> Array:
        places = sorted(range(len(texts)), key=lambda place: len(texts[place].ids))
        width = self.encoder.head.in_features
        vectors = np.zeros((len(texts), width), dtype=np.float32)
        for start in range(0, len(places), 64):
            part = places[start : start + 64]
            vectors[part] = self._vectors([texts[place] for place in part]).cpu().numpy()
        return vectors
