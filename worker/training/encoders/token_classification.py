"""Where the entities of a text are, and of which kind."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from app.formats import read_as
from app.formats.token_classification import MarkedText, entities_of, example
from worker.encoding.tags import first_tokens, spread, tag_names, tags_of
from worker.encoding.task import Task
from worker.encoding.tokenizer import Reader
from worker.training.encoders import metrics
from worker.training.encoders.model import Encoder
from worker.training.encoders.objective import Batches, Report, listed
from worker.training.encoders.rows import Array, Row
from worker.training.objectives import Score

# The target of a token that begins no word: nothing is to be learned of it.
NO_WORD = -1


def read_examples(path: Path) -> list[MarkedText]:
    """Raises FaultyFile."""
    return list(read_as(path, {"token_classification": example}))


def task_of(examples: Sequence[MarkedText], length: int) -> Task:
    """Labels are the kinds of entities, in alphabetical order."""
    labels = sorted({entity.label for one in examples for entity in one.entities})
    return Task(method="token_classification", labels=tuple(labels), length=length)


def rows_of(examples: Sequence[MarkedText], task: Task, reader: Reader) -> list[Row]:
    """Targets [tokens]: the place of the tag at the first token of each word."""
    places = {name: place for place, name in enumerate(tag_names(task.labels))}
    rows = []
    texts = reader.read([one.text for one in examples])
    for source, (one, text) in enumerate(zip(examples, texts, strict=True)):
        target = np.full(len(text.ids), NO_WORD, dtype=np.int64)
        tags = tags_of(one.entities, one.words)
        for token, tag in zip(first_tokens(text.offsets, one.words), tags, strict=True):
            if token >= 0:
                # A kind that the training file does not have can only be missed.
                target[token] = places.get(tag, 0)
        rows.append(Row(text, target, source))
    return rows


def balanced_weights(rows: Sequence[Row], task: Task) -> Tensor:
    """The square root of "balanced", as O outnumbers all else a hundredfold in such files."""
    return (1 / (len(tag_names(task.labels)) * _shares(rows, task))) ** 0.5


@torch.no_grad()
def start_at_shares(encoder: Encoder, rows: Sequence[Row]) -> None:
    """Have a new head give each tag its share in the file.

    Where nineteen words of twenty are outside, a model's first steps would otherwise teach all
    of its layers to say so of every word, and it takes long to forget that.
    """
    if not encoder.head.bias.any():
        encoder.head.bias.copy_(_shares(rows, encoder.task).log())


def _shares(rows: Sequence[Row], task: Task) -> Tensor:
    counts = Counter(int(place) for row in rows for place in row.target if place != NO_WORD)
    found = torch.tensor([max(1, counts[n]) for n in range(len(tag_names(task.labels)))])
    return found / found.sum()


class TokenClassification(Batches[Row]):
    """Cross-entropy of the tag of each word."""

    metric = "f1"

    def __init__(
        self,
        encoder: Encoder,
        examples: Sequence[MarkedText],
        *,
        max_tokens: int,
        max_rows: int | None,
        weights: Tensor | None = None,
    ) -> None:
        super().__init__(encoder, max_tokens=max_tokens, max_rows=max_rows)
        # Those of the validation file: rows of it name their example.
        self._examples = examples
        self._weights = None if weights is None else weights.to(encoder.device)

    def count(self, rows: Sequence[Row]) -> int:
        return max(1, sum(int((row.target != NO_WORD).sum()) for row in rows))

    def score(self, rows: Sequence[Row]) -> Score:
        logits = self._logits(rows)
        found = [torch.from_numpy(row.target[row.target != NO_WORD]) for row in rows]
        targets = torch.cat(found).to(self.encoder.device)
        losses = functional.cross_entropy(logits, targets, self._weights, reduction="none")
        right = (logits.argmax(1) == targets).sum()
        return Score(loss=losses.sum(), count=len(targets), correct=right)

    @torch.no_grad()
    def evaluate(self, rows: Sequence[Row]) -> Report:
        truth: list[list[str]] = []
        found: list[list[str]] = []
        wrong: list[dict[str, Any]] = []
        for part in self.split(rows):
            places = self._logits(part).argmax(1).cpu().numpy()
            for row in part:
                words = int((row.target != NO_WORD).sum())
                guessed, places = places[:words], places[words:]
                expected, tags = self._compare(row, guessed)
                truth.append(expected)
                found.append(tags)
                if expected != tags:
                    wrong.append(self._as_wrong(row, expected, tags))
        return Report(**metrics.entities(truth, found), **listed(wrong))

    def _compare(self, row: Row, guessed: Array) -> tuple[list[str], list[str]]:
        """Tags of all words, those that were cut off found to be outside."""
        one = self._examples[row.source]
        names = tag_names(self.encoder.task.labels)
        begins = first_tokens(row.text.offsets, one.words)
        tags = spread([names[place] for place in guessed], begins)
        return tags_of(one.entities, one.words), tags

    def _logits(self, rows: Sequence[Row]) -> Tensor:
        """[words, tags], of the first token of each word, row by row."""
        hidden, batch = self.encoder.hidden([row.text for row in rows])
        wanted = np.zeros(batch.ids.shape, dtype=bool)
        for place, row in enumerate(rows):
            wanted[place, : row.size] = row.target != NO_WORD
        words = hidden[torch.from_numpy(wanted).to(hidden.device)].float()
        logits: Tensor = self.encoder.head(self.encoder.dropout(words))
        return logits

    def _as_wrong(self, row: Row, expected: list[str], found: list[str]) -> dict[str, Any]:
        """The entities that one of both has and the other has not."""
        words = self._examples[row.source].words
        right, guessed = set(entities_of(expected, words)), set(entities_of(found, words))
        return {
            "example": row.source + 1,
            "expected": [asdict(entity) for entity in sorted(right - guessed)],
            "found": [asdict(entity) for entity in sorted(guessed - right)],
        }
