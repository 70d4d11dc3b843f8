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

from app.formats import iter_examples
from app.formats.token_classification import AnnotatedText, entities_from_tags, to_example
from worker.encoding.tags import bio_tag_names, expand_word_tags, first_tokens, word_tags
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer
from worker.training.encoders import metrics
from worker.training.encoders.model import Encoder
from worker.training.encoders.objective import (
    EvaluationReport,
    LengthGroupedObjective,
    list_wrong_examples,
)
from worker.training.encoders.rows import Array, TextRow
from worker.training.objectives import LossOutput

# The target of a token that begins no word: nothing is to be learned of it.
IGNORE_INDEX = -1


def read_examples(path: Path) -> list[AnnotatedText]:
    """Raises FaultyFile."""
    return list(iter_examples(path, {"token_classification": to_example}))


def infer_task(examples: Sequence[AnnotatedText], length: int) -> EncoderTask:
    """Labels are the kinds of entities, in alphabetical order."""
    labels = sorted({entity.label for one in examples for entity in one.entities})
    return EncoderTask(method="token_classification", labels=tuple(labels), max_length=length)


def build_rows(
    examples: Sequence[AnnotatedText], task: EncoderTask, reader: EncoderTokenizer
) -> list[TextRow]:
    """Targets [tokens]: the place of the tag at the first token of each word."""
    places = {name: place for place, name in enumerate(bio_tag_names(task.labels))}
    rows = []
    texts = reader.tokenize([one.text for one in examples])
    for source, (one, text) in enumerate(zip(examples, texts, strict=True)):
        target = np.full(len(text.ids), IGNORE_INDEX, dtype=np.int64)
        tags = word_tags(one.entities, one.words)
        for token, tag in zip(first_tokens(text.offsets, one.words), tags, strict=True):
            if token >= 0:
                # A kind that the training file does not have can only be missed.
                target[token] = places.get(tag, 0)
        rows.append(TextRow(text, target, source))
    return rows


def balanced_tag_weights(rows: Sequence[TextRow], task: EncoderTask) -> Tensor:
    """The square root of "balanced", as O outnumbers all else a hundredfold in such files."""
    return (1 / (len(bio_tag_names(task.labels)) * _tag_priors(rows, task))) ** 0.5


@torch.no_grad()
def init_bias_from_priors(encoder: Encoder, rows: Sequence[TextRow]) -> None:
    """Have a new head give each tag its share in the file.

    Where nineteen words of twenty are outside, a model's first steps would otherwise teach all
    of its layers to say so of every word, and it takes long to forget that.
    """
    if not encoder.head.bias.any():
        encoder.head.bias.copy_(_tag_priors(rows, encoder.task).log())


def _tag_priors(rows: Sequence[TextRow], task: EncoderTask) -> Tensor:
    counts = Counter(int(place) for row in rows for place in row.target if place != IGNORE_INDEX)
    found = torch.tensor([max(1, counts[n]) for n in range(len(bio_tag_names(task.labels)))])
    return found / found.sum()


class TokenClassificationObjective(LengthGroupedObjective[TextRow]):
    """Cross-entropy of the tag of each word."""

    metric = "f1"

    def __init__(
        self,
        encoder: Encoder,
        examples: Sequence[AnnotatedText],
        *,
        max_tokens: int,
        max_rows: int | None,
        weights: Tensor | None = None,
    ) -> None:
        super().__init__(encoder, max_tokens=max_tokens, max_rows=max_rows)
        # Those of the validation file: rows of it name their example.
        self._examples = examples
        self._weights = None if weights is None else weights.to(encoder.device)

    def num_items(self, rows: Sequence[TextRow]) -> int:
        return max(1, sum(int((row.target != IGNORE_INDEX).sum()) for row in rows))

    def compute_loss(self, rows: Sequence[TextRow]) -> LossOutput:
        logits = self._logits(rows)
        found = [torch.from_numpy(row.target[row.target != IGNORE_INDEX]) for row in rows]
        targets = torch.cat(found).to(self.encoder.device)
        losses = functional.cross_entropy(logits, targets, self._weights, reduction="none")
        right = (logits.argmax(1) == targets).sum()
        return LossOutput(loss=losses.sum(), num_items=len(targets), correct=right)

    @torch.no_grad()
    def evaluate(self, rows: Sequence[TextRow]) -> EvaluationReport:
        truth: list[list[str]] = []
        found: list[list[str]] = []
        wrong: list[dict[str, Any]] = []
        for part in self.split(rows):
            places = self._logits(part).argmax(1).cpu().numpy()
            for row in part:
                words = int((row.target != IGNORE_INDEX).sum())
                guessed, places = places[:words], places[words:]
                expected, tags = self._expected_and_found_tags(row, guessed)
                truth.append(expected)
                found.append(tags)
                if expected != tags:
                    wrong.append(self._wrong_example(row, expected, tags))
        return EvaluationReport(
            **metrics.entity_metrics(truth, found), **list_wrong_examples(wrong)
        )

    def _expected_and_found_tags(self, row: TextRow, guessed: Array) -> tuple[list[str], list[str]]:
        """Tags of all words, those that were cut off found to be outside."""
        one = self._examples[row.example_index]
        names = bio_tag_names(self.encoder.task.labels)
        begins = first_tokens(row.text.offsets, one.words)
        tags = expand_word_tags([names[place] for place in guessed], begins)
        return word_tags(one.entities, one.words), tags

    def _logits(self, rows: Sequence[TextRow]) -> Tensor:
        """[words, tags], of the first token of each word, row by row."""
        hidden, batch = self.encoder.token_states([row.text for row in rows])
        wanted = np.zeros(batch.ids.shape, dtype=bool)
        for place, row in enumerate(rows):
            wanted[place, : row.num_tokens] = row.target != IGNORE_INDEX
        words = hidden[torch.from_numpy(wanted).to(hidden.device)].float()
        logits: Tensor = self.encoder.head(self.encoder.dropout(words))
        return logits

    def _wrong_example(self, row: TextRow, expected: list[str], found: list[str]) -> dict[str, Any]:
        """The entities that one of both has and the other has not."""
        words = self._examples[row.example_index].words
        right, guessed = (
            set(entities_from_tags(expected, words)),
            set(entities_from_tags(found, words)),
        )
        return {
            "example": row.example_index + 1,
            "expected": [asdict(entity) for entity in sorted(right - guessed)],
            "found": [asdict(entity) for entity in sorted(guessed - right)],
        }
