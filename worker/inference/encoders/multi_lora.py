"""Adapters of many models in one forward pass: each row of a batch goes through its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


@dataclass(frozen=True, slots=True, eq=False)
class EncoderLora:
    """a [rank, in] and b [out, rank], b already scaled, by the name of their layer."""

    a: Mapping[str, Tensor]
    b: Mapping[str, Tensor]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(t.nbytes for part in (self.a, self.b) for t in part.values())


@dataclass(slots=True)
class AdapterBatch:
    """Which adapter each row of the batch at hand has. `places` [rows]; None if no row has one."""

    adapters: Sequence[EncoderLora | None] = ()
    adapter_index: Tensor | None = None
    num_rows: int = 0

    def assign(self, chosen: Sequence[EncoderLora | None], device: torch.device) -> None:
        """Set the adapters of the next batch's rows."""
        distinct = list({id(lora): lora for lora in chosen}.values())
        numbers = {id(lora): number for number, lora in enumerate(distinct)}
        self.adapters = distinct
        self.num_rows = len(chosen)
        self.adapter_index = None
        if any(lora is not None for lora in distinct):
            self.adapter_index = torch.tensor([numbers[id(lora)] for lora in chosen], device=device)

    @property
    def distinct_loras(self) -> list[EncoderLora]:
        """The distinct adapters, without the rows that have none."""
        return [lora for lora in self.adapters if lora is not None]

    def gather(self, name: str, layer: nn.Linear) -> tuple[Tensor, Tensor]:
        """The matrices of a layer, row by row: [rows, rank, in] and [rows, out, rank]."""
        rank = max(len(lora.a[name]) for lora in self.distinct_loras)
        found = [_pad_to_rank(lora, name, layer, rank) for lora in self.adapters]
        a, b = (torch.stack(matrices) for matrices in zip(*found, strict=True))
        if len(self.adapters) == self.num_rows:
            # Rows of as many adapters: the stack is in their order already.
            return a, b
        return a[self.adapter_index], b[self.adapter_index]


def _pad_to_rank(
    lora: EncoderLora | None, name: str, layer: nn.Linear, rank: int
) -> tuple[Tensor, Tensor]:
    """An adapter's matrices of a layer, brought to `rank` by zeros."""
    if lora is None:
        zeros = layer.weight.new_zeros
        return zeros(rank, layer.in_features), zeros(layer.out_features, rank)
    a, b = lora.a[name], lora.b[name]
    missing = rank - len(a)
    # Mostly all are of one rank: what each copy here costs is paid for every adapter and layer.
    return (pad(a, (0, 0, 0, missing)), pad(b, (0, missing))) if missing else (a, b)


class MultiLoraLinear(nn.Module):
    """A frozen linear layer with the mixture's adapters."""

    def __init__(self, name: str, base: nn.Linear, mixture: AdapterBatch) -> None:
        super().__init__()
        self.base = base
        self._name = name
        self._adapter_batch = mixture

    def forward(self, x: Tensor) -> Tensor:
        """x [rows, length, in] -> [rows, length, out]"""
        out: Tensor = self.base(x)
        if self._adapter_batch.adapter_index is None:
            return out
        if len(self._adapter_batch.adapters) == 1:
            # One adapter for all rows: plain products, without a copy of it for each row.
            (lora,) = self._adapter_batch.distinct_loras
            return out + (x @ lora.a[self._name].T) @ lora.b[self._name].T
        a, b = self._adapter_batch.gather(self._name, self.base)
        return torch.baddbmm(out, x @ a.mT, b.mT)
