"""What attention remembers: keys and values of every running sequence, a row for each."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

# More rows than this gain little throughput, and each waits longer for its next token.
MAX_NUM_SEQS = 32
# The part of the machine's memory that caches may grow to.
KV_CACHE_MEMORY_FRACTION = 0.125
CGROUP_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


class KvCache:
    """Keys and values, per layer [rows + 1, kv heads, length, head size].

    Running sequences fill the rows from 0 on without gaps, so that a step reads them without a
    copy. The last row is the stage: a prompt is computed there while the others run, and then
    copied to the rows of its choices.
    """

    def __init__(
        self,
        *,
        layers: int,
        num_slots: int,
        num_kv_heads: int,
        context_length: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.prefill_slot = num_slots
        shape = (num_slots + 1, num_kv_heads, context_length, head_dim)
        self.keys = [_lazy_zeros(shape, dtype, device) for _ in range(layers)]
        self.values = [_lazy_zeros(shape, dtype, device) for _ in range(layers)]

    def copy_slot(self, source: int, target: int, length: int) -> None:
        """Make row `target` the same as row `source` up to `length`."""
        for store in (*self.keys, *self.values):
            store[target, :, :length] = store[source, :, :length]


class PrefillAttention:
    """Attention of a piece of a prompt in the stage, whose first token is number `start`."""

    def __init__(self, cache: KvCache, start: int, count: int) -> None:
        self._cache = cache
        self._start = start
        self._end = start + count
        self._mask = self._chunk_mask(count) if start else None

    def _chunk_mask(self, count: int) -> Tensor:
        device = self._cache.keys[0].device
        return torch.ones(count, self._end, dtype=torch.bool, device=device).tril(self._start)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """`q` [tokens, heads, size], `k` and `v` [tokens, kv heads, size] → [tokens, heads·size]"""
        keys, values = (
            store[layer][self._cache.prefill_slot, :, : self._end]
            for store in (self._cache.keys, self._cache.values)
        )
        keys[:, self._start :] = k.transpose(0, 1)
        values[:, self._start :] = v.transpose(0, 1)
        seen = scaled_dot_product_attention(
            q.transpose(0, 1)[None],
            keys[None],
            values[None],
            attn_mask=self._mask,
            is_causal=self._mask is None,
            enable_gqa=True,
        )
        return seen[0].transpose(0, 1).flatten(1)


class DecodeAttention:
    """Attention of one new token each of the rows `first`, `first + 1`, …

    `positions[i]` is the number of tokens the i-th of these rows holds already.
    """

    def __init__(self, cache: KvCache, first: int, positions: Sequence[int]) -> None:
        self._cache = cache
        self._first_slot = first
        self._lengths = [position + 1 for position in positions]
        device = cache.keys[0].device
        self._slots = torch.arange(first, first + len(positions), device=device)
        self._positions = torch.tensor(positions, device=device)
        self._max_length = max(self._lengths)
        self._mask = self._length_mask(cache.keys[0].dtype)

    def _length_mask(self, dtype: torch.dtype) -> Tensor | None:
        """[rows, 1, 1, longest]: -inf behind each row's end; None if all rows end together."""
        if min(self._lengths) == self._max_length:
            return None
        places = torch.arange(self._max_length, device=self._positions.device)
        mask = torch.zeros(len(self._lengths), self._max_length, dtype=dtype, device=places.device)
        mask.masked_fill_(places[None] > self._positions[:, None], float("-inf"))
        return mask[:, None, None]

    @property
    def _is_ragged(self) -> bool:
        """Whether most of a rectangle of all rows would lie behind their ends."""
        on_cpu = self._slots.device.type == "cpu"
        return on_cpu and self._max_length * len(self._lengths) > 2 * sum(self._lengths)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """`q` [rows, heads, size], `k` and `v` [rows, kv heads, size] → [rows, heads·size]"""
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        keys[self._slots, :, self._positions] = k
        values[self._slots, :, self._positions] = v
        # The query heads that share a kv head stand as if they were tokens of it: the same sum,
        # and on a CPU six times as fast as enable_gqa.
        grouped = q.view(len(q), keys.shape[1], -1, q.shape[-1])
        if self._is_ragged:
            return torch.cat([self._attend_one(i, grouped, keys, values) for i in range(len(q))])
        rows = slice(self._first_slot, self._first_slot + len(q))
        seen = scaled_dot_product_attention(
            grouped,
            keys[rows, :, : self._max_length],
            values[rows, :, : self._max_length],
            attn_mask=self._mask,
        )
        return seen.flatten(1)

    def _attend_one(self, index: int, grouped: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        row, length = self._first_slot + index, self._lengths[index]
        seen = scaled_dot_product_attention(
            grouped[index : index + 1],
            keys[row : row + 1, :, :length],
            values[row : row + 1, :, :length],
        )
        return seen.flatten(1)


def compute_num_slots(bytes_per_slot: int, device: torch.device) -> int:
    """How many rows of a cache this machine may hold, the stage aside; at least one."""
    budget = int(_total_memory(device) * KV_CACHE_MEMORY_FRACTION)
    return max(1, min(MAX_NUM_SEQS, budget // bytes_per_slot - 1))


def _total_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CGROUP_MEMORY_LIMIT.read_text().strip() if CGROUP_MEMORY_LIMIT.exists() else "max"
    return memory if limit == "max" else min(memory, int(limit))


def _lazy_zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros, because attention multiplies what it masks with 0, and 0 · NaN is NaN.

    numpy asks the system for pages that come zeroed when they are first touched; torch.zeros
    would write, and so occupy, a cache of many gigabytes before the first request.
    """
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.zeros((*shape[:-1], shape[-1] * dtype.itemsize), np.uint8)).view(
        dtype
    )
