"""Which label a text has, or which labels."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from app.formats import read_as
from app.formats.classification import LabelledText, example
from worker.encoding.task import Task
from worker.encoding.tokenizer import Reader
from worker.training.encoders import metrics
from worker.training.encoders.model import Encoder
from worker.training.encoders.objective import Batches, Report, listed
from worker.training.encoders.rows import Array, Row
from worker.training.objectives import Score

# Of several labels one may be in every row, or in one of a hundred thousand, which would then be
# all that a step learns.
MOST_WEIGHT = 100.0


def read_examples(path: Path) -> list[LabelledText]:
    """Raises FaultyFile."""
    return list(read_as(path, {"classification": example}))


def task_of(examples: Sequence[LabelledText], length: int) -> Task:
    """Labels in alphabetical order: the same whatever the order of the file."""
    labels = sorted({label for one in examples for label in one.labels})
    return Task(method="classification", labels=tuple(labels), many=examples[0].many, length=length)


def rows_of(examples: Sequence[LabelledText], task: Task, reader: Reader) -> list[Row]:
    """Targets: the label's place [1], or a 0 or 1 for each label [labels]."""
    places = {label: place for place, label in enumerate(task.labels)}
    texts = reader.read([one.text for one in examples])
    rows = []
    for source, (one, text) in enumerate(zip(examples, texts, strict=True)):
        chosen = [places[label] for label in one.labels if label in places]
        target = np.array(chosen, dtype=np.int64)
        if task.many:
            target = np.zeros(len(places), dtype=np.int64)
            target[chosen] = 1
        rows.append(Row(text, target, source))
    return rows


def balanced_weights(examples: Sequence[LabelledText], task: Task) -> Tensor:
    """What rows count by their label [labels]: scikit-learn's "balanced".

    Of one label each: rows divided by labels and by the label's rows. Where several may apply, each
    label is a yes or no of its own: what its yes counts if its no counts 1, the rows without it
    divided by those with it. A model that training continues from may know labels that the file
    does not have.
    """
    counts = Counter(label for one in examples for label in one.labels)
    found = torch.tensor([max(1, counts[label]) for label in task.labels])
    if task.many:
        return ((len(examples) - found) / found).clamp(1 / MOST_WEIGHT, MOST_WEIGHT)
    return len(examples) / (len(found) * found)


class Classification(Batches[Row]):
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
        self.metric = "f1_micro" if encoder.task.many else "accuracy"
        self._weights = None if weights is None else weights.to(encoder.device)

    def count(self, rows: Sequence[Row]) -> int:
        return len(rows)

    def score(self, rows: Sequence[Row]) -> Score:
        logits = self._logits(rows)
        targets = self._targets(rows)
        if self.encoder.task.many:
            losses = functional.binary_cross_entropy_with_logits(
                logits, targets.float(), pos_weight=self._weights, reduction="none"
            ).mean(1)
            right = ((logits > 0) == targets.bool()).all(1)
        else:
            losses = functional.cross_entropy(logits, targets, self._weights, reduction="none")
            right = logits.argmax(1) == targets
        return Score(loss=losses.sum(), count=len(rows), correct=right.sum())

    @torch.no_grad()
    def evaluate(self, rows: Sequence[Row]) -> Report:
        task = self.encoder.task
        parts = [(part, self._logits(part)) for part in self.split(rows)]
        ordered = [row for part, _ in parts for row in part]
        logits = torch.cat([logits for _, logits in parts])
        chances = logits.sigmoid() if task.many else logits.softmax(1)
        truth, probabilities = self._targets(ordered).cpu().numpy(), chances.cpu().numpy()
        measure = metrics.label_sets if task.many else metrics.classes
        report = Report(measure(truth, probabilities, task.labels))
        report.update(listed(self._wrong(ordered, truth, probabilities)))
        return report

    def _logits(self, rows: Sequence[Row]) -> Tensor:
        vectors = self.encoder.vectors([row.text for row in rows])
        logits: Tensor = self.encoder.head(self.encoder.dropout(vectors))
        return logits

    def _targets(self, rows: Sequence[Row]) -> Tensor:
        targets = torch.from_numpy(np.stack([row.target for row in rows]))
        return (targets if self.encoder.task.many else targets[:, 0]).to(self.encoder.device)

    def _wrong(
        self, rows: Sequence[Row], truth: Array, probabilities: Array
    ) -> list[dict[str, Any]]:
        labels = np.array(self.encoder.task.labels)
        wrong: list[dict[str, Any]] = []
        for row, right, chances in zip(rows, truth, probabilities, strict=True):
            expected = labels[right == 1] if right.ndim else labels[[right]]
            found = labels[chances >= 0.5] if right.ndim else labels[[chances.argmax()]]
            if list(expected) != list(found):
                wrong.append(
                    {
                        "example": row.source + 1,
                        "expected": list(expected),
                        "found": list(found),
                        "confidence": round(float(chances.max()), 4),
                    }
                )
        return sorted(wrong, key=lambda one: one["confidence"], reverse=True)
