"""Token classification (named entity recognition): a BIO tag for each word."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from app.formats import FormatName, iter_examples
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

# Target of tokens that are not in the loss: all except the first of each word.
IGNORE_INDEX = -1


def read_examples(path: Path) -> list[AnnotatedText]:
    """Read a token classification file. Raises InvalidTrainingFile."""
    return list(iter_examples(path, {FormatName.TOKEN_CLASSIFICATION: to_example}))


def infer_task(examples: Sequence[AnnotatedText], length: int) -> EncoderTask:
    """Infer the task; its labels are the entity labels in alphabetical order."""
    labels = sorted({entity.label for example in examples for entity in example.entities})
    return EncoderTask(method="token_classification", labels=tuple(labels), max_length=length)


def build_rows(
    examples: Sequence[AnnotatedText], task: EncoderTask, tokenizer: EncoderTokenizer
) -> list[TextRow]:
    """Tokenize the examples. Targets [tokens]: the tag's index at each word's first token."""
    tag_index = {name: index for index, name in enumerate(bio_tag_names(task.labels))}
    rows = []
    texts = tokenizer.tokenize([example.text for example in examples])
    for example_index, (example, text) in enumerate(zip(examples, texts, strict=True)):
        target = np.full(len(text.ids), IGNORE_INDEX, dtype=np.int64)
        tags = word_tags(example.entities, example.words)
        for token, tag in zip(first_tokens(text.offsets, example.words), tags, strict=True):
            if token >= 0:
                # A label missing from the training file cannot be predicted; it counts as a miss.
                target[token] = tag_index.get(tag, 0)
        rows.append(TextRow(text, target, example_index))
    return rows


def compute_balanced_tag_weights(rows: Sequence[TextRow], task: EncoderTask) -> Tensor:
    """Compute the square root of the "balanced" weights: most tags are O, often 99 of 100."""
    return (1 / (len(bio_tag_names(task.labels)) * _tag_priors(rows, task))) ** 0.5


@torch.no_grad()
def init_bias_from_priors(encoder: Encoder, rows: Sequence[TextRow]) -> None:
    """Initialize a new head's bias so that it predicts each tag's frequency in the file.

    If 19 of 20 words are O, the first steps would otherwise teach all layers to predict O for every
    word, which takes many steps to unlearn. (Prior initialization, RetinaNet, arXiv:1708.02002.)
    """
    if not encoder.head.bias.any():
        encoder.head.bias.copy_(_tag_priors(rows, encoder.task).log())


def _tag_priors(rows: Sequence[TextRow], task: EncoderTask) -> Tensor:
    counts = Counter(int(tag) for row in rows for tag in row.target if tag != IGNORE_INDEX)
    tag_counts = torch.tensor([max(1, counts[n]) for n in range(len(bio_tag_names(task.labels)))])
    return tag_counts / tag_counts.sum()


class TokenClassificationObjective(LengthGroupedObjective[TextRow]):
    """Mean cross-entropy of each word's tag."""

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
        # Examples of the validation file, to which `example_index` of its rows refers.
        self._examples = examples
        self._weights = None if weights is None else weights.to(encoder.device)

    def num_items(self, rows: Sequence[TextRow]) -> int:
        return max(1, sum(int((row.target != IGNORE_INDEX).sum()) for row in rows))

    def compute_loss(self, rows: Sequence[TextRow]) -> LossOutput:
        logits = self._compute_logits(rows)
        word_targets = [torch.from_numpy(row.target[row.target != IGNORE_INDEX]) for row in rows]
        targets = torch.cat(word_targets).to(self.encoder.device)
        losses = functional.cross_entropy(logits, targets, self._weights, reduction="none")
        correct = (logits.argmax(1) == targets).sum()
        return LossOutput(loss=losses.sum(), num_items=len(targets), correct=correct)

    @torch.no_grad()
    def evaluate(self, rows: Sequence[TextRow]) -> EvaluationReport:
        truth: list[list[str]] = []
        predictions: list[list[str]] = []
        wrong: list[dict[str, Any]] = []
        for part in self.split(rows):
            tags_of_part = self._compute_logits(part).argmax(1).cpu().numpy()
            for row in part:
                words = int((row.target != IGNORE_INDEX).sum())
                predicted, tags_of_part = tags_of_part[:words], tags_of_part[words:]
                expected, tags = self._get_expected_and_predicted_tags(row, predicted)
                truth.append(expected)
                predictions.append(tags)
                if expected != tags:
                    wrong.append(self._describe_wrong_example(row, expected, tags))
        return EvaluationReport(
            **metrics.entity_metrics(truth, predictions), **list_wrong_examples(wrong)
        )

    def _get_expected_and_predicted_tags(
        self, row: TextRow, predicted: Array
    ) -> tuple[list[str], list[str]]:
        """Return the expected and predicted tags of all words; truncated words count as O."""
        example = self._examples[row.example_index]
        names = bio_tag_names(self.encoder.task.labels)
        begins = first_tokens(row.text.offsets, example.words)
        tags = expand_word_tags([names[index] for index in predicted], begins)
        return word_tags(example.entities, example.words), tags

    def _compute_logits(self, rows: Sequence[TextRow]) -> Tensor:
        """Compute the logits of each word's first token [words, tags], row by row."""
        hidden, batch = self.encoder.compute_token_states([row.text for row in rows])
        is_first_token = np.zeros(batch.ids.shape, dtype=bool)
        for index, row in enumerate(rows):
            is_first_token[index, : row.num_tokens] = row.target != IGNORE_INDEX
        words = hidden[torch.from_numpy(is_first_token).to(hidden.device)].float()
        logits: Tensor = self.encoder.head(self.encoder.dropout(words))
        return logits

    def _describe_wrong_example(
        self, row: TextRow, expected: list[str], predictions: list[str]
    ) -> dict[str, Any]:
        """List the missed entities and the wrongly predicted ones."""
        words = self._examples[row.example_index].words
        true_entities, predicted_entities = (
            set(entities_from_tags(expected, words)),
            set(entities_from_tags(predictions, words)),
        )
        return {
            "example": row.example_index + 1,
            "expected": [asdict(entity) for entity in sorted(true_entities - predicted_entities)],
            "found": [asdict(entity) for entity in sorted(predicted_entities - true_entities)],
        }
