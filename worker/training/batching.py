"""Rows to micro-batches: which rows go through the model together, and how they lie in memory.

A micro-batch is a stream: the tokens of its rows one behind the other, without padding, and with
the beginning that all its rows share (a system prompt) only once. Matrix products see the
stream. Attention needs rows of one length: it spreads the stream into blocks of rows of similar
lengths, and collects the stream from them again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Indices = NDArray[np.int64]

# A row joins a block of shorter rows if it is at most this much longer than the shortest.
MAX_BLOCK_GROWTH = 1.25
BLOCK_SLACK = 16


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A tokenized training row. `learned` are the positions of the tokens to learn: some, all > 0.

    Both are int32 on purpose: a large training file stays in memory as long as the job runs.
    """

    ids: NDArray[np.int32]
    label_positions: NDArray[np.int32]

    @property
    def num_tokens(self) -> int:
        """Tokens that go through the model: from the last predicted one on, none matters."""
        return int(self.label_positions[-1])


class HasNumTokens(Protocol):
    """What goes through the model as a whole."""

    @property
    def num_tokens(self) -> int: ...


ItemT = TypeVar("ItemT", bound=HasNumTokens)


@dataclass(frozen=True, slots=True, eq=False)
class MicroBatch:
    """Rows laid out as a stream of T tokens, of which N predict a token to learn.

    ids, positions  [T]: the stream, and each token's place in its row
    shared          tokens at the stream's head that stand at the head of every row
    blocks          [rows, length] each: for each slot of the block, the place in the stream
    collect         [T]: for each place in the stream, its slot in all blocks laid end to end
    predicting      [N]: places in the stream whose output predicts, row by row
    labels          [N]: what they should predict
    """

    ids: Tensor
    positions: Tensor
    prefix_len: int
    pad_indices: tuple[Tensor, ...]
    unpad_index: Tensor
    logit_positions: Tensor
    labels: Tensor


def split_by_tokens(
    rows: Sequence[ItemT], *, max_tokens: int, max_rows: int | None = None
) -> Iterator[list[ItemT]]:
    """Sort `rows` by length and cut them into groups of `max_tokens` at most, or of one row."""
    group: list[ItemT] = []
    tokens = 0
    for row in sorted(rows, key=lambda row: row.num_tokens):
        full = tokens + row.num_tokens > max_tokens or len(group) == max_rows
        if group and full:
            yield group
            group, tokens = [], 0
        group.append(row)
        tokens += row.num_tokens
    if group:
        yield group


def collate(rows: Sequence[Row], device: torch.device, *, share_prefix: bool = True) -> MicroBatch:
    """The micro-batch of `rows`, which are sorted by length as `split` leaves them."""
    shared = _common_prefix_length(rows) if share_prefix else 0
    places = _stream_indices(rows, shared)
    blocks = list(_pad_blocks(places))
    own = [row.ids[shared : row.num_tokens] for row in rows]
    positions = [np.arange(shared, row.num_tokens) for row in rows]
    predicting = [place[row.label_positions - 1] for row, place in zip(rows, places, strict=True)]

    def tensor(*parts: NDArray[np.integer]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts).astype(np.int64)).to(device)

    return MicroBatch(
        ids=tensor(rows[0].ids[:shared], *own),
        positions=tensor(np.arange(shared), *positions),
        prefix_len=shared,
        pad_indices=tuple(tensor(block) for block in blocks),
        unpad_index=tensor(_unpad_index(blocks)),
        logit_positions=tensor(*predicting),
        labels=tensor(*(row.ids[row.label_positions] for row in rows)),
    )


def _common_prefix_length(rows: Sequence[Row]) -> int:
    """Length of the common beginning of all rows; 0 for one row alone."""
    if len(rows) < 2:
        return 0
    limit = min(row.num_tokens for row in rows)
    heads = np.stack([row.ids[:limit] for row in rows])
    differing = np.flatnonzero((heads != heads[0]).any(axis=0))
    return int(differing[0]) if len(differing) else limit


def _stream_indices(rows: Sequence[Row], shared: int) -> list[Indices]:
    """For each row, where in the stream its tokens lie."""
    places = []
    start = shared
    for row in rows:
        end = start + row.num_tokens - shared
        places.append(np.concatenate([np.arange(shared), np.arange(start, end)]))
        start = end
    return places


def _pad_blocks(places: Sequence[Indices]) -> Iterator[Indices]:
    """Rows of similar lengths, filled up at the end to the length of the longest.

    What stands in the filling is never seen: a token attends only to those before it.
    """
    block: list[Indices] = []
    for place in places:
        if block and len(place) > len(block[0]) * MAX_BLOCK_GROWTH + BLOCK_SLACK:
            yield _pad_rows(block)
            block = []
        block.append(place)
    yield _pad_rows(block)


def _pad_rows(block: Sequence[Indices]) -> Indices:
    filled = np.zeros((len(block), max(map(len, block))), dtype=np.int64)
    for row, place in zip(filled, block, strict=True):
        row[: len(place)] = place
    return filled


def _unpad_index(blocks: Sequence[Indices]) -> Indices:
    """For each place of the stream its slot; for a shared token the slot in the first row.

    The filling points at place 0, whose first slot is slot 0 with or without it.
    """
    return np.unique(np.concatenate([block.ravel() for block in blocks]), return_index=True)[1]
