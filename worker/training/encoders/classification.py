"""Text classification: one label per text (single-label), or any number (multi-label)."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from app.formats.classification import LabelledText
from worker.encoding.rows.row import TextRow
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

# Bound of multi-label class weights. Without it a label of one row in a hundred thousand would
# dominate its step, and a label of every row would have weight 0.
MAX_CLASS_WEIGHT = 100.0


def compute_balanced_class_weights(examples: Sequence[LabelledText], task: EncoderTask) -> Tensor:
    """Compute class weights [labels] as scikit-learn's `class_weight="balanced"` does.

    Single-label: `n_samples / (n_classes * np.bincount(y))`. Multi-label: each label is a binary
    problem, whose `pos_weight` is the number of negative rows divided by that of positive ones.
    A label without rows, known only from the initial model, counts as if it had one row.
    """
    counts = Counter(label for example in examples for label in example.labels)
    row_counts = torch.tensor([max(1, counts[label]) for label in task.labels])
    if task.multi_label:
        return ((len(examples) - row_counts) / row_counts).clamp(
            1 / MAX_CLASS_WEIGHT, MAX_CLASS_WEIGHT
        )
    return len(examples) / (len(row_counts) * row_counts)


def compute_chance_loss(
    examples: Sequence[LabelledText], task: EncoderTask, label_smoothing: float = 0.0
) -> float | None:
    """Compute the loss in nats of always predicting the labels' shares: their entropy.

    Smoothed targets have smoothed shares. None for several labels per text, whose loss is not that
    of a choice between them.
    """
    if task.multi_label:
        return None
    counts = Counter(label for example in examples for label in example.labels)
    spread = label_smoothing / len(task.labels)
    shares = [
        (1 - label_smoothing) * counts[label] / len(examples) + spread for label in task.labels
    ]
    return -sum(share * math.log(share) for share in shares if share)


class ClassificationObjective(LengthGroupedObjective[TextRow]):
    """Cross-entropy (single-label), or binary cross-entropy averaged over labels (multi-label)."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        max_tokens: int,
        max_rows: int | None,
        weights: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(encoder, max_tokens=max_tokens, max_rows=max_rows)
        self._label_smoothing = label_smoothing
        self.metric = "f1_micro" if encoder.task.multi_label else "accuracy"
        self._weights = None if weights is None else weights.to(encoder.device)

    def num_items(self, rows: Sequence[TextRow]) -> int:
        return len(rows)

    def compute_loss(self, rows: Sequence[TextRow]) -> LossOutput:
        logits = self._compute_logits(rows)
        targets = self._stack_targets(rows)
        # In training only, so that validation losses compare.
        smoothing = self._label_smoothing if torch.is_grad_enabled() else 0.0
        if self.encoder.task.multi_label:
            soft = targets * (1 - smoothing) + smoothing / 2
            losses = functional.binary_cross_entropy_with_logits(
                logits, soft, pos_weight=self._weights, reduction="none"
            ).mean(1)
            correct = ((logits > 0) == targets.bool()).all(1)
        else:
            losses = functional.cross_entropy(
                logits, targets, self._weights, reduction="none", label_smoothing=smoothing
            )
            correct = logits.argmax(1) == targets
        return LossOutput(loss=losses.sum(), correct=correct.sum(), outputs=logits.detach())

    def measure(self, parts: Parts[TextRow]) -> EvaluationReport:
        ordered_rows = [row for part, _ in parts for row in part]
        logits = torch.cat([logits for _, logits in parts if logits is not None])
        is_multi_label = self.encoder.task.multi_label
        probabilities = logits.sigmoid() if is_multi_label else logits.softmax(1)
        return self.score(ordered_rows, probabilities.cpu().numpy())

    def served_inputs(
        self, rows: Sequence[TextRow], examples: Sequence[LabelledText]
    ) -> list[LabelledText]:
        return [examples[row.example_index] for row in rows]

    def score(self, rows: Sequence[TextRow], predictions: Array) -> EvaluationReport:
        """See EncoderObjective; `predictions` are probabilities [rows, labels]."""
        task = self.encoder.task
        truth = self._stack_targets(rows).cpu().numpy()
        measure = metrics.multi_label_metrics if task.multi_label else metrics.single_label_metrics
        report = EvaluationReport(measure(truth, predictions, task.labels))
        report.update(list_wrong_examples(self._list_misclassified(rows, truth, predictions)))
        return report

    def _compute_logits(self, rows: Sequence[TextRow]) -> Tensor:
        vectors = self.encoder.embed_texts([row.text for row in rows])
        logits: Tensor = self.encoder.head(self.encoder.dropout(vectors))
        return logits

    def _stack_targets(self, rows: Sequence[TextRow]) -> Tensor:
        targets = torch.from_numpy(np.stack([row.target for row in rows]))
        return (targets if self.encoder.task.multi_label else targets[:, 0]).to(self.encoder.device)

    def _list_misclassified(
        self, rows: Sequence[TextRow], truth: Array, probabilities: Array
    ) -> list[dict[str, Any]]:
        labels = np.array(self.encoder.task.labels)
        wrong: list[dict[str, Any]] = []
        for row, target, scores in zip(rows, truth, probabilities, strict=True):
            expected = labels[target == 1] if target.ndim else labels[[target]]
            predicted = labels[scores >= 0.5] if target.ndim else labels[[scores.argmax()]]
            if list(expected) != list(predicted):
                wrong.append(
                    {
                        "example": row.example_index + 1,
                        "expected": list(expected),
                        "found": list(predicted),
                        "confidence": round(float(scores.max()), 4),
                    }
                )
        return sorted(wrong, key=lambda item: item["confidence"], reverse=True)
