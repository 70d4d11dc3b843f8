"""Rows of token classification: a BIO tag for each unit of a text."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from app.formats.token_classification import AnnotatedText
from worker.encoding.rows.row import TextRow
from worker.encoding.segmentation import Segmentation, choose_segmentation, find_units
from worker.encoding.tags import bio_tag_names, count_unspelled, unit_tags
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer, TokenizedText

# Target of tokens that carry no tag: all except the first of each unit.
IGNORE_INDEX = -1
# Target of units that carry a tag that is not in the loss.
UNLEARNED_INDEX = -2


def infer_task(
    examples: Sequence[AnnotatedText], length: int, tokenizer: EncoderTokenizer
) -> EncoderTask:
    """Infer the task; its labels are the entity labels in alphabetical order."""
    labels = sorted({entity.label for example in examples for entity in example.entities})
    lost_by_kind = ((kind, len(list_unspelled(examples, tokenizer, kind))) for kind in Segmentation)
    return EncoderTask(
        method="token_classification",
        labels=tuple(labels),
        max_length=length,
        segmentation=choose_segmentation(
            lost_by_kind, total=sum(len(example.entities) for example in examples)
        ),
    )


def list_unspelled(
    examples: Sequence[AnnotatedText], tokenizer: EncoderTokenizer, segmentation: Segmentation
) -> list[int]:
    """List the index of the example of each entity that begins or ends inside a unit."""
    texts = tokenizer.for_segmentation(segmentation).tokenize([item.text for item in examples])
    unspelled: list[int] = []
    for index, (example, text) in enumerate(zip(examples, texts, strict=True)):
        units = find_units(example.text, text.offsets, segmentation)
        unspelled += [index] * count_unspelled(example.entities, units, text.is_complete)
    return unspelled


def build_rows(
    examples: Sequence[AnnotatedText], task: EncoderTask, tokenizer: EncoderTokenizer
) -> list[TextRow]:
    """Tokenize the examples. Targets [tokens]: the tag's index at each unit's first token."""
    tag_index = {name: index for index, name in enumerate(bio_tag_names(task.labels))}
    texts = tokenizer.for_segmentation(task.segmentation).tokenize([e.text for e in examples])
    return [
        TextRow(text, _build_target(example, text, task.segmentation, tag_index), example_index)
        for example_index, (example, text) in enumerate(zip(examples, texts, strict=True))
    ]


def _build_target(
    example: AnnotatedText,
    text: TokenizedText,
    segmentation: Segmentation,
    tag_index: Mapping[str, int],
) -> NDArray[np.int64]:
    target = np.full(len(text.ids), IGNORE_INDEX, dtype=np.int64)
    units = find_units(example.text, text.offsets, segmentation)
    for token, tag in zip(units.tokens, unit_tags(example.entities, units.spans), strict=True):
        if token >= 0:
            # A label missing from the training file cannot be predicted; it counts as a miss.
            target[token] = UNLEARNED_INDEX if tag is None else tag_index.get(tag, 0)
    return target
