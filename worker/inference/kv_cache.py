"""The KV cache: keys and values of all running sequences, one slot each; attention over it."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from worker.inference.kv_memory import SlottedTensor
from worker.inference.prefix_cache import BLOCK_TOKENS


class KvCache:
    """Keys and values, per layer [slots + 1, kv heads, context length, head dim].

    Running sequences fill the slots from 0 on without gaps, so that a step reads them without a
    copy. A slot has room for a whole context; on a CPU it takes only the memory of its tokens.
    Prompts are computed in the slots at the end, of which one is always left to them, and
    then copied to the slots of their choices.
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
        shape = (num_slots + 1, num_kv_heads, context_length, head_dim)
        self._slotted = [SlottedTensor(shape, dtype, device) for _ in range(2 * layers)]
        self._tensors = [slotted.tensor for slotted in self._slotted]
        self.keys, self.values = self._tensors[:layers], self._tensors[layers:]

    def erase_slot(self, slot: int) -> None:
        """Overwrite the keys and values of a slot with zeros, which frees their memory."""
        for slotted in self._slotted:
            slotted.erase(slot)

    def copy_slot(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of slot `source` to slot `target`."""
        for tensor in self._tensors:
            tensor[target, :, :length] = tensor[source, :, :length]

    def read_slot(self, slot: int, start: int, end: int) -> list[Tensor]:
        """Copy the positions from `start` to `end` of a slot to the host's memory."""
        return [tensor[slot, :, start:end].to("cpu", copy=True) for tensor in self._tensors]

    def write_slot(self, slot: int, start: int, copies: Sequence[Tensor]) -> None:
        """Write what `read_slot` returned to a slot, from position `start` on."""
        for tensor, saved in zip(self._tensors, copies, strict=True):
            tensor[slot, :, start : start + saved.shape[1]] = saved


class PrefillAttention:
    """Causal attention of a prompt chunk in `slot`, from position `start` on.

    On a CPU it is computed by blocks of positions, whose numbers then do not depend on the chunk
    that a step had room for: products of other sizes add in another order. Keys after a block are
    not read, either.
    """

    def __init__(self, cache: KvCache, slot: int, start: int, count: int) -> None:
        self._cache = cache
        self._slot = slot
        self._start = start
        self._end = start + count
        device = cache.keys[0].device
        parts = _split_at_blocks(start, self._end) if device.type == "cpu" else [(start, self._end)]
        self._parts = [(*part, _causal_mask(*part, device)) for part in parts]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [tokens, heads, dim], k and v [tokens, kv heads, dim] → [tokens, heads·dim]"""
        keys, values = self._cache.keys[layer][self._slot], self._cache.values[layer][self._slot]
        keys[:, self._start : self._end] = k.transpose(0, 1)
        values[:, self._start : self._end] = v.transpose(0, 1)
        outputs = [
            scaled_dot_product_attention(
                q[begin - self._start : end - self._start].transpose(0, 1)[None],
                keys[None, :, :end],
                values[None, :, :end],
                attn_mask=mask,
                is_causal=mask is None,
                enable_gqa=True,
            )
            for begin, end, mask in self._parts
        ]
        return torch.cat([output[0].transpose(0, 1) for output in outputs]).flatten(1)


def _split_at_blocks(start: int, end: int) -> list[tuple[int, int]]:
    """Split positions where blocks begin, wherever `start` is."""
    inner = range(start - start % BLOCK_TOKENS + BLOCK_TOKENS, end, BLOCK_TOKENS)
    return list(pairwise([start, *inner, end]))


def _causal_mask(begin: int, end: int, device: torch.device) -> Tensor | None:
    """Mask of the keys before `end` that each position sees; None if it is the usual triangle."""
    if not begin:
        return None
    return torch.ones(end - begin, end, dtype=torch.bool, device=device).tril(begin)


class PackedPrefillAttention:
    """Attention of several prompts' chunks, whose tokens follow each other: each sees its own."""

    def __init__(self, chunks: Sequence[PrefillAttention], sizes: Sequence[int]) -> None:
        self._chunks = chunks
        self._sizes = list(sizes)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [tokens, heads, dim], k and v [tokens, kv heads, dim] → [tokens, heads·dim]"""
        parts = zip(self._chunks, *(x.split(self._sizes) for x in (q, k, v)), strict=True)
        return torch.cat([attend(layer, *inputs) for attend, *inputs in parts])


class DecodeAttention:
    """Attention of one new token in each of `slots`, in ascending order.

    `positions[i]` is the number of tokens that the i-th of these slots already holds.
    """

    def __init__(self, cache: KvCache, slots: Sequence[int], positions: Sequence[int]) -> None:
        self._cache = cache
        self._rows = list(slots)
        self._has_gaps = self._rows[-1] - self._rows[0] >= len(self._rows)
        self._lengths = [position + 1 for position in positions]
        device = cache.keys[0].device
        self._slots = torch.tensor(self._rows, device=device)
        self._positions = torch.tensor(positions, device=device)
        self._max_length = max(self._lengths)
        self._mask = self._length_mask(cache.keys[0].dtype)

    def _length_mask(self, dtype: torch.dtype) -> Tensor | None:
        """[slots, 1, 1, max length], -inf past each slot's end; None if all lengths are equal."""
        if min(self._lengths) == self._max_length:
            return None
        positions = torch.arange(self._max_length, device=self._positions.device)
        mask = torch.zeros(
            len(self._lengths), self._max_length, dtype=dtype, device=positions.device
        )
        mask.masked_fill_(positions[None] > self._positions[:, None], float("-inf"))
        return mask[:, None, None]

    @property
    def _is_ragged(self) -> bool:
        """True if more than half of a padded batch would be padding, or copied (on a CPU)."""
        if self._slots.device.type != "cpu":
            return False
        padded = self._max_length * len(self._lengths)
        return self._has_gaps or padded > 2 * sum(self._lengths)

    def _select(self, tensor: Tensor) -> Tensor:
        """Select the slots: a view, or a copy if there are others between them."""
        if self._has_gaps:
            return tensor[self._slots, :, : self._max_length]
        return tensor[self._rows[0] : self._rows[-1] + 1, :, : self._max_length]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [slots, heads, dim], k and v [slots, kv heads, dim] → [slots, heads·dim]"""
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        keys[self._slots, :, self._positions] = k
        values[self._slots, :, self._positions] = v
        # Grouped-query attention with the query heads of a kv head as its "tokens": the same
        # result, and six times as fast as enable_gqa on a CPU.
        grouped = q.view(len(q), keys.shape[1], -1, q.shape[-1])
        if self._is_ragged:
            return torch.cat([self._attend_one(i, grouped, keys, values) for i in range(len(q))])
        output = scaled_dot_product_attention(
            grouped, self._select(keys), self._select(values), attn_mask=self._mask
        )
        return output.flatten(1)

    def _attend_one(self, index: int, grouped: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        slot, length = self._rows[index], self._lengths[index]
        output = scaled_dot_product_attention(
            grouped[index : index + 1],
            keys[slot : slot + 1, :, :length],
            values[slot : slot + 1, :, :length],
        )
        return output.flatten(1)
