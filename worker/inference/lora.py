"""Multi-LoRA: rows of different adapters in one batch share two matrix products.

The A matrices of all adapters in a batch are concatenated, so that one product serves every row;
a mask keeps each row's own ranks, and a second product with the concatenated B matrices adds its
delta. Nothing is gathered per row, so the cost does not depend on which row uses which adapter.
"""

from collections.abc import Mapping, Sequence
from ctypes import Array
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear


@dataclass(frozen=True, slots=True)
class LoraAB:
    """LoRA matrices of one layer: `a` [rank, in] and B [rank, out], already scaled.

    If several layers are computed as one, B is a block diagonal, of which `blocks` [rank, out] are
    kept, one for each layer. Those of layers that an adapter does not change have the rank 0.
    """

    a: Tensor
    blocks: tuple[Tensor, ...]

    @property
    def b(self) -> Tensor:
        """B as one matrix, with the zeros beside its blocks."""
        return self.blocks[0] if len(self.blocks) == 1 else torch.block_diag(*self.blocks)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.a.nbytes + sum(block.nbytes for block in self.blocks)

    def merge_blocks(self) -> "LoraAB":
        """Make a pair with a single block."""
        return LoraAB(self.a, (self.b,))

    def to(self, like: Tensor) -> "LoraAB":
        """Contiguous copies on the device and in the dtype of `like`."""
        a, *blocks = (m.to(like.device, like.dtype).contiguous() for m in (self.a, *self.blocks))
        return LoraAB(a, tuple(blocks))


@dataclass(frozen=True, slots=True, eq=False)
class LoraWeights:
    """One adapter: its matrices by the name of the layer they are added to.

    `table` describes them to native kernels, if there are any.
    """

    pairs: Mapping[str, LoraAB]
    table: Array[Any] | None = None

    @property
    def max_rank(self) -> int:
        """The highest rank of a layer."""
        return max((len(pair.a) for pair in self.pairs.values()), default=0)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(pair.nbytes for pair in self.pairs.values())


class LoraStack:
    """The concatenated matrices of several adapters, for batches that mix them."""

    def __init__(self, adapters: Sequence[LoraWeights]) -> None:
        self.adapters = tuple(adapters)
        self.pairs: dict[str, LoraAB] = {}
        # Ranks of each adapter, per layer. Layers with equal ranks share a mask.
        self.ranks: dict[str, tuple[int, ...]] = {}
        for layer in sorted({layer for adapter in adapters for layer in adapter.pairs}):
            pairs = [adapter.pairs.get(layer) for adapter in adapters]
            self.ranks[layer] = tuple(len(pair.a) if pair else 0 for pair in pairs)
            self.pairs[layer] = _stack_pairs([pair for pair in pairs if pair])

    def can_serve(self, adapters: set[LoraWeights]) -> bool:
        """True if the stack holds all of these adapters and at most as many others."""
        return adapters <= set(self.adapters) and len(self.adapters) <= 2 * len(adapters)


class LoraBatch:
    """The adapters of one decoding step: that of row i is `adapters[i]`, or None."""

    def __init__(self, stack: LoraStack, adapters: Sequence[LoraWeights | None]) -> None:
        self._stack = stack
        self._masks: dict[tuple[int, ...], Tensor] = {}
        self._adapter_index = [
            stack.adapters.index(adapter) if adapter else -1 for adapter in adapters
        ]
        # A single adapter for all rows needs no mask.
        self._needs_mask = len(stack.adapters) > 1 or -1 in self._adapter_index

    def add_delta(self, layer: str, x: Tensor, out: Tensor) -> None:
        """Add x·A·B of each row's adapter, x [rows, in], to `out` [rows, out], in place."""
        pair = self._stack.pairs.get(layer)
        if pair is None:
            return
        projected = linear(x, pair.a)
        if self._needs_mask:
            projected.mul_(self._rank_mask(self._stack.ranks[layer], projected))
        out.addmm_(projected, pair.b)

    def _rank_mask(self, ranks: tuple[int, ...], like: Tensor) -> Tensor:
        """[rows, sum of ranks]: 1 where a rank belongs to the row's adapter, else 0."""
        mask = self._masks.get(ranks)
        if mask is None:
            adapter_of_rank = torch.arange(len(ranks)).repeat_interleave(torch.tensor(ranks))
            adapter_index = torch.tensor(self._adapter_index)
            mask = (adapter_index[:, None] == adapter_of_rank[None, :]).to(like.device, like.dtype)
            self._masks[ranks] = mask
        return mask


class LoraSegments:
    """The adapters of one pass over several prompts, whose tokens follow each other.

    Each has its own products: with hundreds of rows per adapter a stack would multiply every row
    with the matrices of all the others.
    """

    def __init__(self, adapters: Sequence[LoraWeights | None], sizes: Sequence[int]) -> None:
        self._segments: list[tuple[LoraWeights | None, int]] = []
        for adapter, size in zip(adapters, sizes, strict=True):
            if self._segments and self._segments[-1][0] is adapter:
                size += self._segments.pop()[1]
            self._segments.append((adapter, size))

    def add_delta(self, layer: str, x: Tensor, out: Tensor) -> None:
        """Add x·A·B of each row's adapter, x [rows, in], to `out` [rows, out], in place."""
        end = 0
        for adapter, size in self._segments:
            start, end = end, end + size
            pair = adapter.pairs.get(layer) if adapter else None
            if pair is not None:
                out[start:end].addmm_(linear(x[start:end], pair.a), pair.b)


def _stack_pairs(pairs: Sequence[LoraAB]) -> LoraAB:
    if len(pairs) == 1:
        return pairs[0]
    return LoraAB(torch.cat([pair.a for pair in pairs]), (torch.cat([pair.b for pair in pairs]),))
