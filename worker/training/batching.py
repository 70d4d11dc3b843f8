"""Sequence packing: splits a batch into micro-batches and lays each out as one token stream.

A micro-batch is the concatenation of its rows without padding; a prefix that several rows begin
with (a system prompt, the prompt of a preference pair) is stored once. Matrix products run on the
stream. Attention needs each row whole: it pads the stream into blocks of rows of similar length, or
lays rows end to end where there is a kernel for rows of any lengths, and takes the result apart.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.training.rounded_sizes import round_up

Indices = NDArray[np.int64]

# A row joins a block if its length is at most GROWTH times the shortest row's, plus SLACK.
MAX_BLOCK_GROWTH = 1.25
BLOCK_SLACK = 16
# A shorter prefix costs more to share than to compute in each row.
MIN_SHARED_PREFIX = 4
# Step of blocks' lengths, see `rounded_sizes`.
LENGTH_STEP = 8


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
class SharedTokens:
    """Tokens of the stream that the same number of rows, at least two, contain.

    tokens  [S]: their stream indices
    slots   [rows, S]: all their slots, numbered as in `MicroBatch.unpad_index`
    """

    tokens: Tensor
    slots: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class RowBounds:
    """Rows laid end to end: `ends` [rows + 1] in int32, from 0, and the longest one's length."""

    ends: Tensor
    max_length: int


@dataclass(frozen=True, slots=True, eq=False)
class MicroBatch:
    """Rows packed into a stream of T tokens, with N labels in the loss.

    ids, positions   [T]: token ids of the stream, and the position of each token in its row
    pad_indices      one [rows, length] per block: the stream index of each slot; rows that are laid
                     end to end are one block of one row
    bounds           those of the rows in that block; None if rows are padded
    unpad_index      [T]: for each stream index, its first slot in all blocks laid end to end
    shared           tokens that have further slots, by the number of these
    logit_positions  [N]: stream indices whose output predicts a label, row by row
    labels           [N]: the token ids to predict
    """

    ids: Tensor
    positions: Tensor
    pad_indices: tuple[Tensor, ...]
    bounds: RowBounds | None
    unpad_index: Tensor
    shared: tuple[SharedTokens, ...]
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


def collate(
    rows: Sequence[Row],
    device: torch.device,
    *,
    share_prefix: bool = True,
    pad_rows: bool = True,
) -> MicroBatch:
    """Pack `rows`, sorted by length as `split_by_tokens` yields them, into a micro-batch."""
    stream_indices = _share_prefixes(rows) if share_prefix else _concatenate(rows)
    row_blocks = list(_group_by_length(stream_indices))
    if not pad_rows:
        row_blocks = [[np.concatenate(stream_indices)]]
    tokens = np.concatenate(stream_indices)
    slots = _find_slots(row_blocks)
    first = np.unique(tokens, return_index=True)[1]
    lengths = [len(indices) for indices in stream_indices]
    ids = np.concatenate([row.ids[:length] for row, length in zip(rows, lengths, strict=True)])
    positions = np.concatenate([np.arange(length) for length in lengths])
    logit_positions = [
        indices[row.label_positions - 1] for row, indices in zip(rows, stream_indices, strict=True)
    ]
    blocks = [_pad_rows(block) for block in row_blocks]
    shared = [array for pair in _find_shared(tokens, slots) for array in pair]
    arrays = [
        ids[first],
        positions[first],
        slots[first],
        np.concatenate(logit_positions),
        np.concatenate([row.ids[row.label_positions] for row in rows]),
        np.cumsum([0, *lengths]),
        *blocks,
        *shared,
    ]
    stream, at, unpad_index, predicting, labels, ends, *rest = _to_device(arrays, device)
    pairs = rest[len(blocks) :]
    return MicroBatch(
        ids=stream,
        positions=at,
        pad_indices=tuple(rest[: len(blocks)]),
        bounds=None if pad_rows else RowBounds(ends.to(torch.int32), max(lengths)),
        unpad_index=unpad_index,
        shared=tuple(map(SharedTokens, pairs[::2], pairs[1::2])),
        logit_positions=predicting,
        labels=labels,
    )


def collate_texts(texts: Sequence[NDArray[np.int32]], device: torch.device) -> MicroBatch:
    """Pack token ids of texts, sorted by length, into a micro-batch without labels."""
    ends = np.cumsum([len(ids) for ids in texts])
    stream_indices = [np.arange(end - len(ids), end) for ids, end in zip(texts, ends, strict=True)]
    row_blocks = list(_group_by_length(stream_indices))
    arrays = [
        np.concatenate(texts),
        np.concatenate([np.arange(len(ids)) for ids in texts]),
        _find_slots(row_blocks),
        *[_pad_rows(block) for block in row_blocks],
    ]
    stream, positions, unpad_index, *blocks = _to_device(arrays, device)
    return MicroBatch(
        ids=stream,
        positions=positions,
        pad_indices=tuple(blocks),
        bounds=None,
        unpad_index=unpad_index,
        shared=(),
        logit_positions=stream[:0],
        labels=stream[:0],
    )


def _to_device(arrays: Sequence[NDArray[np.integer]], device: torch.device) -> list[Tensor]:
    """Copy arrays to the device at once, and without waiting for what it computes before."""
    flat = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]).astype(np.int64))
    if device.type == "cuda":
        flat = flat.pin_memory()
    parts = flat.to(device, non_blocking=True).split([array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]


def common_prefix_length(one: NDArray[np.int32], other: NDArray[np.int32]) -> int:
    """Count the tokens that both begin with."""
    limit = min(len(one), len(other))
    differing = np.flatnonzero(one[:limit] != other[:limit])
    return int(differing[0]) if len(differing) else limit


def _concatenate(rows: Sequence[Row]) -> list[Indices]:
    """Compute the stream indices of the tokens of each row, of which none is shared."""
    ends = np.cumsum([row.num_tokens for row in rows])
    return [np.arange(end - row.num_tokens, end) for row, end in zip(rows, ends, strict=True)]


def _share_prefixes(rows: Sequence[Row]) -> list[Indices]:
    """Compute the stream indices of the tokens of each row; equal prefixes have the same ones.

    In lexical order, no row has a longer prefix in common with an earlier one than with the last.
    """
    inputs = [row.ids[: row.num_tokens] for row in rows]
    stream_indices: list[Indices] = [np.empty(0, np.int64)] * len(rows)
    last_ids, last_indices = np.empty(0, np.int32), np.empty(0, np.int64)
    end = 0
    for place in sorted(range(len(rows)), key=lambda place: inputs[place].tobytes()):
        ids = inputs[place]
        shared = common_prefix_length(last_ids, ids)
        shared = shared if shared >= MIN_SHARED_PREFIX else 0
        start, end = end, end + len(ids) - shared
        last_indices = np.concatenate([last_indices[:shared], np.arange(start, end)])
        last_ids = ids
        stream_indices[place] = last_indices
    return stream_indices


def _group_by_length(stream_indices: Sequence[Indices]) -> Iterator[list[Indices]]:
    """Group rows, which are sorted by length, into blocks of similar length."""
    block: list[Indices] = []
    for indices in stream_indices:
        if block and len(indices) > len(block[0]) * MAX_BLOCK_GROWTH + BLOCK_SLACK:
            yield block
            block = []
        block.append(indices)
    yield block


def _pad_rows(block: Sequence[Indices]) -> Indices:
    """Right-pad the rows of a block to one length.

    Padding needs no mask: under causal attention no token sees what comes after it.
    """
    padded = np.zeros((len(block), _find_width(block)), dtype=np.int64)
    for row, indices in zip(padded, block, strict=True):
        row[: len(indices)] = indices
    return padded


def _find_width(block: Sequence[Indices]) -> int:
    """Return the length to which the rows of a block are padded: near that of the longest."""
    return round_up(max(map(len, block)), step=LENGTH_STEP)


def _find_slots(blocks: Sequence[Sequence[Indices]]) -> Indices:
    """Number the slots of the rows' tokens, row by row, in all blocks laid end to end."""
    slots = []
    start = 0
    for block in blocks:
        width = _find_width(block)
        for indices in block:
            slots.append(np.arange(start, start + len(indices)))
            start += width
    return np.concatenate(slots)


def _find_shared(tokens: Indices, slots: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Yield the tokens that several rows contain, with their slots, by the number of rows.

    `tokens` are the stream indices at `slots`.
    """
    counts = np.bincount(tokens)
    by_token = slots[np.argsort(tokens, kind="stable")]
    starts = np.cumsum(counts) - counts
    for count in np.unique(counts[counts > 1]):
        shared = np.flatnonzero(counts == count)
        yield shared, by_token[starts[shared] + np.arange(count)[:, None]]
