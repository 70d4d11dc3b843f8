"""Rows of an encoder's training file, and which of them go through the model together."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from worker.encoding.tokenizer import TokenizedText

Array = NDArray[Any]


class EncoderRow(Protocol):
    @property
    def example_index(self) -> int:
        """The place of its example in the file."""

    @property
    def num_tokens(self) -> int:
        """Tokens."""

    @property
    def key(self) -> bytes:
        """The same for rows that are the same to the model."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing was cut off."""

    @property
    def baseline_texts(self) -> Sequence[tuple[Hashable, TokenizedText]]:
        """What a request has one of where the training file has this row, each with where it comes
        from: what texts of one origin share tells nothing of others. The same text of the same
        origin is there once."""


RowT = TypeVar("RowT", bound=EncoderRow)


@dataclass(frozen=True, slots=True, eq=False)
class TextRow:
    """A text and what is to be learned of it. `source` is the example's place in the file; texts
    that are made of one thing, as of one context, have its number as `origin`."""

    text: TokenizedText
    target: NDArray[np.int64]
    example_index: int
    source_id: int | None = None

    @property
    def num_tokens(self) -> int:
        return len(self.text.ids)

    @property
    def key(self) -> bytes:
        return self.text.ids.tobytes()

    @property
    def is_complete(self) -> bool:
        return self.text.is_complete

    @property
    def baseline_texts(self) -> Sequence[tuple[Hashable, TokenizedText]]:
        return ((self.example_index if self.source_id is None else self.source_id, self.text),)


def split_by_padded_tokens(
    rows: Sequence[RowT], *, max_tokens: int, max_rows: int | None
) -> Iterator[Sequence[RowT]]:
    """Cut a batch into micro-batches of rows of similar length; their filling counts as tokens."""
    sizes = [row.num_tokens for row in rows]
    for part in group_by_length(sizes, max_tokens=max_tokens, max_rows=max_rows):
        yield [rows[place] for place in part]


def group_by_length(
    sizes: Sequence[int], *, max_tokens: int, max_rows: int | None
) -> Iterator[list[int]]:
    """The places of things of these sizes, the short ones first, cut as `split` does it."""
    part: list[int] = []
    for place in sorted(range(len(sizes)), key=lambda place: sizes[place]):
        too_many = (len(part) + 1) * sizes[place] > max_tokens or len(part) == max_rows
        if part and too_many:
            yield part
            part = []
        part.append(place)
    if part:
        yield part
