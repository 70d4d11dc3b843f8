"""Grouping of an encoder's rows into padded micro-batches."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from numpy.typing import NDArray

from worker.encoding.rows.row import EncoderRow

Array = NDArray[Any]


RowT = TypeVar("RowT", bound=EncoderRow)


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
