"""Rows of text classification: one label per text, or any number."""

from collections.abc import Sequence

import numpy as np

from app.formats.classification import LabelledText
from worker.encoding.rows.row import TextRow
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer


def infer_task(
    examples: Sequence[LabelledText], length: int, tokenizer: EncoderTokenizer
) -> EncoderTask:
    """Infer the task. Labels are sorted, so that they do not depend on the order of the rows."""
    labels = sorted({label for example in examples for label in example.labels})
    return EncoderTask(
        method="classification",
        labels=tuple(labels),
        multi_label=examples[0].multi_label,
        max_length=length,
    )


def build_rows(
    examples: Sequence[LabelledText], task: EncoderTask, tokenizer: EncoderTokenizer
) -> list[TextRow]:
    """Tokenize the examples. Targets: index of the label [1], or a multi-hot vector [labels]."""
    label_index = {label: index for index, label in enumerate(task.labels)}
    texts = tokenizer.tokenize([example.text for example in examples])
    rows = []
    for example_index, (example, text) in enumerate(zip(examples, texts, strict=True)):
        indices = [label_index[label] for label in example.labels if label in label_index]
        target = np.array(indices, dtype=np.int64)
        if task.multi_label:
            target = np.zeros(len(label_index), dtype=np.int64)
            target[indices] = 1
        rows.append(TextRow(text, target, example_index))
    return rows
