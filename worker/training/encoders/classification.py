"""Which label a text has, or which labels."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from app.formats import iter_examples
from app.formats.classification import LabelledText, to_example
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

# Of several labels one may be in every row, or in one of a hundred thousand, which would then be
# all that a step learns.
MAX_CLASS_WEIGHT = 100.0


def read_examples(path: Path) -> list[LabelledText]:
    """Raises FaultyFile."""
    return list(iter_examples(path, {"classification": to_example}))


def infer_task(examples: Sequence[LabelledText], length: int) -> EncoderTask:
    """Labels in alphabetical order: the same whatever the order of the file."""
    labels = sorted({label for one in examples for label in one.labels})
    return EncoderTask(
        method="classification",
        labels=tuple(labels),
        multi_label=examples[0].multi_label,
        max_length=length,
    )


def build_rows(
    examples: Sequence[LabelledText], task: EncoderTask, reader: EncoderTokenizer
) -> list[TextRow]:
    """Targets: the label's place [1], or a 0 or 1 for each label [labels]."""
    places = {label: place for place, label in enumerate(task.labels)}
    texts = reader.tokenize([one.text for one in examples])
    rows = []
    for source, (one, text) in enumerate(zip(examples, texts, strict=True)):
        chosen = [places[label] for label in one.labels if label in places]
        target = np.array(chosen, dtype=np.int64)
        if task.multi_label:
            target = np.zeros(len(places), dtype=np.int64)
            target[chosen] = 1
        rows.append(TextRow(text, target, source))
    return rows


def balanced_class_weights(examples: Sequence[LabelledText], task: EncoderTask) -> Tensor:
    """What rows count by their label [labels]: scikit-learn's "balanced".

    Of one label each: rows divided by labels and by the label's rows. Where several may apply, each
    label is a yes or no of its own: what its yes counts if its no counts 1, the rows without it
    divided by those with it. A model that training continues from may know labels that the file
    does not have.
    """
    counts = Counter(label for one in examples for label in one.labels)
    found = torch.tensor([max(1, counts[label]) for label in task.labels])
    if task.multi_label:
        return ((len(examples) - found) / found).clamp(1 / MAX_CLASS_WEIGHT, MAX_CLASS_WEIGHT)
    return len(examples) / (len(found) * found)


class ClassificationObjective(LengthGroupedObjective[TextRow]):
    """Cross-entropy of the one label, or of each label's yes or no."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        max_tokens: int,
        max_rows: int | None,
        weights: Tensor | None = None,
    ) -> None:
        super().__init__(encoder, max_tokens=max_tokens, max_rows=max_rows)
        self.metric = "f1_micro" if encoder.task.multi_label else "accuracy"
        self._weights = None if weights is None else weights.to(encoder.device)

    def num_items(self, rows: Sequence[TextRow]) -> int:
        return len(rows)

    def compute_loss(self, rows: Sequence[TextRow]) -> LossOutput:
        logits = self._logits(rows)
        targets = self._targets(rows)
        if self.encoder.task.multi_label:
            losses = functional.binary_cross_entropy_with_logits(
                logits, targets.float(), pos_weight=self._weights, reduction="none"
            ).mean(1)
            right = ((logits > 0) == targets.bool()).all(1)
        else:
            losses = functional.cross_entropy(logits, targets, self._weights, reduction="none")
            right = logits.argmax(1) == targets
        return LossOutput(loss=losses.sum(), num_items=len(rows), correct=right.sum())

    @torch.no_grad()
    def evaluate(self, rows: Sequence[TextRow]) -> EvaluationReport:
        task = self.encoder.task
        parts = [(part, self._logits(part)) for part in self.split(rows)]
        ordered = [row for part, _ in parts for row in part]
        logits = torch.cat([logits for _, logits in parts])
        chances = logits.sigmoid() if task.multi_label else logits.softmax(1)
        truth, probabilities = self._targets(ordered).cpu().numpy(), chances.cpu().numpy()
        measure = metrics.multi_label_metrics if task.multi_label else metrics.single_label_metrics
        report = EvaluationReport(measure(truth, probabilities, task.labels))
        report.update(list_wrong_examples(self._misclassified(ordered, truth, probabilities)))
        return report

    def _logits(self, rows: Sequence[TextRow]) -> Tensor:
        vectors = self.encoder.text_vectors([row.text for row in rows])
        logits: Tensor = self.encoder.head(self.encoder.dropout(vectors))
        return logits

    def _targets(self, rows: Sequence[TextRow]) -> Tensor:
        targets = torch.from_numpy(np.stack([row.target for row in rows]))
        return (targets if self.encoder.task.multi_label else targets[:, 0]).to(self.encoder.device)

    def _misclassified(
        self, rows: Sequence[TextRow], truth: Array, probabilities: Array
    ) -> list[dict[str, Any]]:
        labels = np.array(self.encoder.task.labels)
        wrong: list[dict[str, Any]] = []
        for row, right, chances in zip(rows, truth, probabilities, strict=True):
            expected = labels[right == 1] if right.ndim else labels[[right]]
            found = labels[chances >= 0.5] if right.ndim else labels[[chances.argmax()]]
            if list(expected) != list(found):
                wrong.append(
                    {
                        "example": row.example_index + 1,
                        "expected": list(expected),
                        "found": list(found),
                        "confidence": round(float(chances.max()), 4),
                    }
                )
        return sorted(wrong, key=lambda one: one["confidence"], reverse=True)
