"""Token classification (named entity recognition): a BIO tag for each unit of a text."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from app.formats.token_classification import AnnotatedText, EntitySpan
from worker.encoding.rows.row import TextRow
from worker.encoding.rows.token_classification import IGNORE_INDEX
from worker.encoding.segmentation import find_units
from worker.encoding.tags import bio_tag_names, decode_entities
from worker.encoding.task import EncoderTask
from worker.training.encoders import metrics
from worker.training.encoders.micro_batches import Array
from worker.training.encoders.model import Encoder
from worker.training.encoders.objective import (
    EvaluationReport,
    LengthGroupedObjective,
    list_wrong_examples,
)
from worker.training.objectives import LossOutput
from worker.training.validation import Parts


def compute_balanced_tag_weights(rows: Sequence[TextRow], task: EncoderTask) -> Tensor:
    """Compute the square root of the "balanced" weights: most tags are O, often 99 of 100."""
    return (1 / (len(bio_tag_names(task.labels)) * _tag_priors(rows, task))) ** 0.5


@torch.no_grad()
def init_bias_from_priors(encoder: Encoder, rows: Sequence[TextRow]) -> None:
    """Initialize a new head's bias so that it predicts each tag's frequency in the file.

    If 19 of 20 units are O, the first steps would otherwise teach all layers to predict O for every
    unit, which takes many steps to unlearn. (Prior initialization, RetinaNet, arXiv:1708.02002.)
    """
    if not encoder.head.bias.any():
        encoder.head.bias.copy_(_tag_priors(rows, encoder.task).log())


def _tag_priors(rows: Sequence[TextRow], task: EncoderTask) -> Tensor:
    counts = Counter(int(tag) for row in rows for tag in row.target if tag >= 0)
    tag_counts = torch.tensor([max(1, counts[n]) for n in range(len(bio_tag_names(task.labels)))])
    return tag_counts / tag_counts.sum()


class TokenClassificationObjective(LengthGroupedObjective[TextRow]):
    """Mean cross-entropy of each unit's tag."""

    metric = "f1"

    def __init__(
        self,
        encoder: Encoder,
        examples: Sequence[AnnotatedText],
        *,
        max_tokens: int,
        max_rows: int | None,
        weights: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(encoder, max_tokens=max_tokens, max_rows=max_rows)
        self._label_smoothing = label_smoothing
        # Examples of the validation file, to which `example_index` of its rows refers.
        self._examples = examples
        self._weights = None if weights is None else weights.to(encoder.device)

    def num_items(self, rows: Sequence[TextRow]) -> int:
        return max(1, sum(int((row.target >= 0).sum()) for row in rows))

    def compute_loss(self, rows: Sequence[TextRow]) -> LossOutput:
        of_units = self._compute_logits(rows)
        targets = torch.from_numpy(np.concatenate([_unit_targets(row) for row in rows]))
        is_learned = (targets >= 0).to(self.encoder.device)
        logits, targets = of_units[is_learned], targets.to(self.encoder.device)[is_learned]
        # In training only, so that validation losses compare.
        smoothing = self._label_smoothing if torch.is_grad_enabled() else 0.0
        losses = functional.cross_entropy(
            logits, targets, self._weights, reduction="none", label_smoothing=smoothing
        )
        tags = of_units.detach().argmax(1)
        correct = (tags[is_learned] == targets).sum()
        return LossOutput(loss=losses.sum(), correct=correct, outputs=tags)

    def measure(self, parts: Parts[TextRow]) -> EvaluationReport:
        tagged = _list_rows_with_tags(parts)
        rows = [row for row, _ in tagged]
        num_correct = sum(int((tags == _unit_targets(row)).sum()) for row, tags in tagged)
        num_units = max(1, sum(len(_unit_targets(row)) for row in rows))
        report = self.score(rows, [self._decode(row, tags) for row, tags in tagged])
        return EvaluationReport(report, accuracy=num_correct / num_units)

    def served_inputs(
        self, rows: Sequence[TextRow], examples: Sequence[AnnotatedText]
    ) -> list[AnnotatedText]:
        return [examples[row.example_index] for row in rows]

    def score(
        self, rows: Sequence[TextRow], predictions: Sequence[Sequence[EntitySpan]]
    ) -> EvaluationReport:
        """See EncoderObjective; the report lacks the accuracy of the tags."""
        truth = [self._examples[row.example_index].entities for row in rows]
        report = metrics.entity_metrics(truth, predictions)
        return EvaluationReport(**report, **list_wrong_examples(list_wrong(truth, predictions)))

    def _decode(self, row: TextRow, tags: Array) -> tuple[EntitySpan, ...]:
        """Decode the entities that a client would get."""
        task, text = self.encoder.task, self._examples[row.example_index].text
        names = bio_tag_names(task.labels)
        units = find_units(text, row.text.offsets, task.segmentation)
        return decode_entities([names[index] for index in tags], units)

    def _compute_logits(self, rows: Sequence[TextRow]) -> Tensor:
        """Compute the logits of each unit's first token [units, tags], row by row."""
        hidden, batch = self.encoder.compute_token_states([row.text for row in rows])
        is_first_token = np.zeros(batch.ids.shape, dtype=bool)
        for index, row in enumerate(rows):
            is_first_token[index, : row.num_tokens] = row.target != IGNORE_INDEX
        units = hidden[torch.from_numpy(is_first_token).to(hidden.device)].float()
        logits: Tensor = self.encoder.head(self.encoder.dropout(units))
        return logits


def list_wrong(
    truth: Sequence[Sequence[EntitySpan]], predictions: Sequence[Sequence[EntitySpan]]
) -> list[dict[str, Any]]:
    """List the examples with missed or wrongly predicted entities, and these entities."""
    return [
        {
            "example": number,
            "expected": [asdict(entity) for entity in sorted(set(expected) - set(found))],
            "found": [asdict(entity) for entity in sorted(set(found) - set(expected))],
        }
        for number, (expected, found) in enumerate(zip(truth, predictions, strict=True), start=1)
        if set(expected) != set(found)
    ]


def _list_rows_with_tags(parts: Parts[TextRow]) -> list[tuple[TextRow, Array]]:
    """List the rows in the order of the file, with the index of each unit's tag."""
    tagged: list[tuple[TextRow, Array]] = []
    for part, tags in parts:
        assert tags is not None
        ends = np.cumsum([len(_unit_targets(row)) for row in part])
        tagged += zip(part, np.split(tags.numpy(), ends[:-1]), strict=True)
    return sorted(tagged, key=lambda pair: pair[0].example_index)


def _unit_targets(row: TextRow) -> Array:
    """Return the targets of the row's units, in order."""
    targets: Array = row.target[row.target != IGNORE_INDEX]
    return targets
