"""Low-rank adapters inside a batch: rows of different adapters share two matrix products.

The A matrices of all adapters in a batch stand on top of each other, so one product serves every
row; a mask then keeps, for each row, its own adapter's part, and a second product with the
stacked B matrices adds what each row is due. Nothing is gathered per row, and what a step costs
does not depend on which rows belong to whom.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear


@dataclass(frozen=True, slots=True)
class LoraAB:
    """`a` is [rank, inputs]; `b` is [rank, outputs] and already multiplied with the scaling."""

    a: Tensor
    b: Tensor

    def to(self, like: Tensor) -> "LoraAB":
        """The same on the device and in the dtype of `like`, laid out for reading row by row."""
        return LoraAB(*(m.to(like.device, like.dtype).contiguous() for m in (self.a, self.b)))


@dataclass(frozen=True, slots=True, eq=False)
class LoraWeights:
    """One adapter: what it adds, by the name of the product it is added to."""

    pairs: Mapping[str, LoraAB]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(pair.a.nbytes + pair.b.nbytes for pair in self.pairs.values())


class LoraStack:
    """Several adapters on top of each other, to be used by batches that mix them."""

    def __init__(self, adapters: Sequence[LoraWeights]) -> None:
        self.adapters = tuple(adapters)
        self.pairs: dict[str, LoraAB] = {}
        # How many rows of the stack each adapter owns. Places that share these share a mask.
        self.ranks: dict[str, tuple[int, ...]] = {}
        for place in sorted({place for adapter in adapters for place in adapter.pairs}):
            found = [adapter.pairs.get(place) for adapter in adapters]
            self.ranks[place] = tuple(len(pair.a) if pair else 0 for pair in found)
            self.pairs[place] = _stack_pairs([pair for pair in found if pair])

    def can_serve(self, adapters: set[LoraWeights]) -> bool:
        """Whether it holds all of these and not so many others that they would cost much."""
        return adapters <= set(self.adapters) and len(self.adapters) <= 2 * len(adapters)


class LoraBatch:
    """The adapters of the rows of one forward pass; `owners[i]` is row i's, or None.

    A single owner stands for all rows, as in the pass over a prompt.
    """

    def __init__(self, stack: LoraStack, owners: Sequence[LoraWeights | None]) -> None:
        self._stack = stack
        self._masks: dict[tuple[int, ...], Tensor] = {}
        self._adapter_index = [stack.adapters.index(owner) if owner else -1 for owner in owners]
        # One adapter that owns all rows needs no mask.
        self._needs_mask = len(stack.adapters) > 1 or -1 in self._adapter_index

    def add_delta(self, place: str, x: Tensor, out: Tensor) -> None:
        """Add each row's adapter's part of a product: `x` [rows, in] to `out` [rows, out]."""
        pair = self._stack.pairs.get(place)
        if pair is None:
            return
        narrow = linear(x, pair.a)
        if self._needs_mask:
            narrow.mul_(self._rank_mask(self._stack.ranks[place], narrow))
        out.addmm_(narrow, pair.b)

    def _rank_mask(self, ranks: tuple[int, ...], like: Tensor) -> Tensor:
        """[rows, sum of ranks]: 1 where the rank belongs to the row's adapter."""
        mask = self._masks.get(ranks)
        if mask is None:
            owner_of_rank = torch.arange(len(ranks)).repeat_interleave(torch.tensor(ranks))
            slots = torch.tensor(self._adapter_index)
            mask = (slots[:, None] == owner_of_rank[None, :]).to(like.device, like.dtype)
            self._masks[ranks] = mask
        return mask


def _stack_pairs(pairs: Sequence[LoraAB]) -> LoraAB:
    if len(pairs) == 1:
        return pairs[0]
    return LoraAB(torch.cat([pair.a for pair in pairs]), torch.cat([pair.b for pair in pairs]))
