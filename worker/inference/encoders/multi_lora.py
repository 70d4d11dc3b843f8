"""Multi-LoRA for encoders: each row of a batch has its own adapter, in one forward pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


@dataclass(frozen=True, slots=True, eq=False)
class EncoderLora:
    """LoRA matrices by layer name: a [rank, in] and b [out, rank], b already scaled.

    An adapter need not change every layer.
    """

    a: Mapping[str, Tensor]
    b: Mapping[str, Tensor]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(t.nbytes for matrices in (self.a, self.b) for t in matrices.values())


@dataclass(slots=True)
class AdapterBatch:
    """The adapters of the current batch.

    `adapter_index` [rows] points into `adapters`; None if no row has an adapter.
    """

    adapters: Sequence[EncoderLora | None] = ()
    adapter_index: Tensor | None = None
    num_rows: int = 0

    def assign(self, loras: Sequence[EncoderLora | None], device: torch.device) -> None:
        """Set the adapter of each row of the next batch."""
        distinct = list({id(lora): lora for lora in loras}.values())
        index_of = {id(lora): index for index, lora in enumerate(distinct)}
        self.adapters = distinct
        self.num_rows = len(loras)
        self.adapter_index = None
        if any(lora is not None for lora in distinct):
            self.adapter_index = torch.tensor([index_of[id(lora)] for lora in loras], device=device)

    @property
    def distinct_loras(self) -> list[EncoderLora]:
        """The distinct adapters, without None."""
        return [lora for lora in self.adapters if lora is not None]

    def gather(self, name: str, layer: nn.Linear) -> tuple[Tensor, Tensor]:
        """Gather a layer's matrices per row: [rows, rank, in] and [rows, out, rank]."""
        rank = max(len(lora.a[name]) for lora in self.distinct_loras if name in lora.a)
        padded = [_pad_to_rank(lora, name, layer, rank) for lora in self.adapters]
        a, b = (torch.stack(matrices) for matrices in zip(*padded, strict=True))
        if len(self.adapters) == self.num_rows:
            # As many adapters as rows: the stack is in row order already.
            return a, b
        return a[self.adapter_index], b[self.adapter_index]


def _pad_to_rank(
    lora: EncoderLora | None, name: str, layer: nn.Linear, rank: int
) -> tuple[Tensor, Tensor]:
    """Return an adapter's matrices of a layer, zero-padded to `rank`."""
    if lora is None or name not in lora.a:
        zeros = layer.weight.new_zeros
        return zeros(rank, layer.in_features), zeros(layer.out_features, rank)
    a, b = lora.a[name], lora.b[name]
    missing = rank - len(a)
    # Usually all ranks are equal; copying anyway would cost time for every adapter and layer.
    return (pad(a, (0, 0, 0, missing)), pad(b, (0, missing))) if missing else (a, b)


class MultiLoraLinear(nn.Module):
    """A frozen linear layer plus the LoRA deltas of the current batch."""

    def __init__(self, name: str, base: nn.Linear, adapter_batch: AdapterBatch) -> None:
        super().__init__()
        self.base = base
        self._name = name
        self._adapter_batch = adapter_batch

    def forward(self, x: Tensor) -> Tensor:
        """x [rows, length, in] -> [rows, length, out]"""
        out: Tensor = self.base(x)
        if not any(self._name in lora.a for lora in self._adapter_batch.distinct_loras):
            return out
        if len(self._adapter_batch.adapters) == 1:
            # One adapter for all rows: plain products, without a copy per row.
            (lora,) = self._adapter_batch.distinct_loras
            return out + (x @ lora.a[self._name].T) @ lora.b[self._name].T
        a, b = self._adapter_batch.gather(self._name, self.base)
        return torch.baddbmm(out, x @ a.mT, b.mT)
