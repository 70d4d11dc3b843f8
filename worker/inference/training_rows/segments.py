"""Segments of a tokenized row: texts of successive tokens that are alike to the loss."""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.wire.training_rows import RowSegment, SegmentSplit


@dataclass(frozen=True, slots=True)
class ShownToken:
    """The bytes that a token adds to the text, and what training does with it."""

    text: bytes
    has_loss: bool = False
    label: str | None = None


def build_segments(tokens: Sequence[ShownToken], split: SegmentSplit) -> list[RowSegment]:
    """Decode tokens to segments.

    A character whose bytes are in two segments is in the text of the second one.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    segments = [
        RowSegment(
            text=decoder.decode(b"".join(token.text for token in group)),
            token_count=len(group),
            has_loss=group[0].has_loss,
            label=group[0].label,
        )
        for group in _group(tokens, split)
    ]
    if segments:
        segments[-1].text += decoder.decode(b"", final=True)
    return segments


def _group(tokens: Sequence[ShownToken], split: SegmentSplit) -> Iterator[list[ShownToken]]:
    group: list[ShownToken] = []
    for token in tokens:
        is_alike = group and (group[0].has_loss, group[0].label) == (token.has_loss, token.label)
        if group and (split == SegmentSplit.TOKEN or not is_alike):
            yield group
            group = []
        group.append(token)
    if group:
        yield group
