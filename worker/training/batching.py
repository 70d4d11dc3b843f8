"""Sequence packing: splits a batch into micro-batches and lays each out as one token stream.

A micro-batch is the concatenation of its rows without padding; a prefix common to all rows (a
system prompt) is stored once. Matrix products run on the stream. Attention needs rows of equal
length: it pads the stream into blocks of rows of similar length, and unpads the result.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Indices = NDArray[np.int64]

# A row joins a block if its length is at most GROWTH times the shortest row's, plus SLACK.
MAX_BLOCK_GROWTH = 1.25
BLOCK_SLACK = 16


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A tokenized training row.

    `label_positions` are the positions of the tokens in the loss, ascending, at least one, all > 0.
    Both arrays are int32 because a large training file stays in memory while the job runs.
    """

    ids: NDArray[np.int32]
    label_positions: NDArray[np.int32]

    @property
    def num_tokens(self) -> int:
        """Tokens that go through the model: the last label is predicted, but is not an input."""
        return int(self.label_positions[-1])


class HasNumTokens(Protocol):
    """An item that goes through the model in one piece."""

    @property
    def num_tokens(self) -> int: ...


ItemT = TypeVar("ItemT", bound=HasNumTokens)


@dataclass(frozen=True, slots=True, eq=False)
class MicroBatch:
    """Rows packed into a stream of T tokens, with N labels in the loss.

    ids, positions   [T]: token ids of the stream, and the position of each token in its row
    prefix_len       tokens at the start of the stream that every row begins with
    pad_indices      one [rows, length] per block: the stream index of each slot
    unpad_index      [T]: for each stream index, its slot in all blocks laid end to end
    logit_positions  [N]: stream indices whose output predicts a label, row by row
    labels           [N]: the token ids to predict
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
    """Sort `rows` by length and cut them into groups of at most `max_tokens` and `max_rows`.

    A row longer than `max_tokens` is a group of its own.
    """
    group: list[ItemT] = []
    tokens = 0
    for row in sorted(rows, key=lambda row: row.num_tokens):
        is_full = tokens + row.num_tokens > max_tokens or len(group) == max_rows
        if group and is_full:
            yield group
            group, tokens = [], 0
        group.append(row)
        tokens += row.num_tokens
    if group:
        yield group


def collate(rows: Sequence[Row], device: torch.device, *, share_prefix: bool = True) -> MicroBatch:
    """Pack `rows`, sorted by length as `split_by_tokens` yields them, into a micro-batch."""
    prefix_len = _common_prefix_length(rows) if share_prefix else 0
    stream_indices = _stream_indices(rows, prefix_len)
    blocks = list(_pad_blocks(stream_indices))
    suffixes = [row.ids[prefix_len : row.num_tokens] for row in rows]
    positions = [np.arange(prefix_len, row.num_tokens) for row in rows]
    logit_positions = [
        indices[row.label_positions - 1] for row, indices in zip(rows, stream_indices, strict=True)
    ]

    def tensor(*parts: NDArray[np.integer]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts).astype(np.int64)).to(device)

    return MicroBatch(
        ids=tensor(rows[0].ids[:prefix_len], *suffixes),
        positions=tensor(np.arange(prefix_len), *positions),
        prefix_len=prefix_len,
        pad_indices=tuple(tensor(block) for block in blocks),
        unpad_index=tensor(_unpad_index(blocks)),
        logit_positions=tensor(*logit_positions),
        labels=tensor(*(row.ids[row.label_positions] for row in rows)),
    )


def _common_prefix_length(rows: Sequence[Row]) -> int:
    """Measure the longest common prefix of all rows; 0 for a single row."""
    if len(rows) < 2:
        return 0
    limit = min(row.num_tokens for row in rows)
    prefixes = np.stack([row.ids[:limit] for row in rows])
    differing = np.flatnonzero((prefixes != prefixes[0]).any(axis=0))
    return int(differing[0]) if len(differing) else limit


def _stream_indices(rows: Sequence[Row], prefix_len: int) -> list[Indices]:
    """Compute the stream indices of the tokens of each row."""
    stream_indices = []
    start = prefix_len
    for row in rows:
        end = start + row.num_tokens - prefix_len
        stream_indices.append(np.concatenate([np.arange(prefix_len), np.arange(start, end)]))
        start = end
    return stream_indices


def _pad_blocks(stream_indices: Sequence[Indices]) -> Iterator[Indices]:
    """Group rows of similar length and right-pad each group to its longest row.

    Padding needs no mask: under causal attention no token sees what comes after it.
    """
    block: list[Indices] = []
    for indices in stream_indices:
        if block and len(indices) > len(block[0]) * MAX_BLOCK_GROWTH + BLOCK_SLACK:
            yield _pad_rows(block)
            block = []
        block.append(indices)
    yield _pad_rows(block)


def _pad_rows(block: Sequence[Indices]) -> Indices:
    padded = np.zeros((len(block), max(map(len, block))), dtype=np.int64)
    for row, indices in zip(padded, block, strict=True):
        row[: len(indices)] = indices
    return padded


def _unpad_index(blocks: Sequence[Indices]) -> Indices:
    """Find the slot of each stream index; for a prefix token, its slot in the first row.

    Padding slots hold stream index 0, whose first slot is slot 0 with or without them.
    """
    return np.unique(np.concatenate([block.ravel() for block in blocks]), return_index=True)[1]
