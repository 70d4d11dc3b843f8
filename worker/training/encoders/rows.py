"""Rows of an encoder's training file, and their grouping into padded micro-batches."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from worker.encoding.tokenizer import TokenizedText

Array = NDArray[Any]


class EncoderRow(Protocol):
    """A tokenized training row of any encoder method."""

    @property
    def example_index(self) -> int:
        """Index of the row's example in the file."""

    @property
    def num_tokens(self) -> int:
        """Tokens of all texts of the row."""

    @property
    def is_complete(self) -> bool:
        """False if any text was truncated."""

    @property
    def baseline_texts(self) -> Sequence[tuple[Hashable, TokenizedText]]:
        """Texts this row contributes to the drift baseline, each with the id of its source.

        A source is the content that several texts share, such as the context of several
        questions; duplicates within a source count once.
        """


RowT = TypeVar("RowT", bound=EncoderRow)


@dataclass(frozen=True, slots=True, eq=False)
class TextRow:
    """A text and its training target.

    Rows made from one shared text, such as the windows of a context, have the same `source_id`.
    """

    text: TokenizedText
    target: NDArray[np.int64]
    example_index: int
    source_id: int | None = None

    @property
    def num_tokens(self) -> int:
        return len(self.text.ids)

    @property
    def is_complete(self) -> bool:
        return self.text.is_complete

    @property
    def baseline_texts(self) -> Sequence[tuple[Hashable, TokenizedText]]:
        return ((self.example_index if self.source_id is None else self.source_id, self.text),)


def split_by_padded_tokens(
    rows: Sequence[RowT], *, max_tokens: int, max_rows: int | None
) -> Iterator[Sequence[RowT]]:
    """Split a batch into micro-batches of rows of similar length, limited by padded tokens."""
    sizes = [row.num_tokens for row in rows]
    for group in group_by_length(sizes, max_tokens=max_tokens, max_rows=max_rows):
        yield [rows[index] for index in group]


def group_by_length(
    sizes: Sequence[int], *, max_tokens: int, max_rows: int | None
) -> Iterator[list[int]]:
    """Group the indices of items of these sizes, shortest first, within both limits."""
    group: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda index: sizes[index]):
        is_full = (len(group) + 1) * sizes[index] > max_tokens or len(group) == max_rows
        if group and is_full:
            yield group
            group = []
        group.append(index)
    if group:
        yield group
