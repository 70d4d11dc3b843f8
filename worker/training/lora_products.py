"""Products with LoRA's matrices, forward and backward, into given memory.

z = x · Aᵀ    y += s · z · Bᵀ        dz = s · dy · B     dx += dz · A
                                     dB = s · dyᵀ · z    dA = dzᵀ · x
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from worker.training.workspace import Workspace


class LoraPart(NamedTuple):
    """The outputs of one of the merged layers, the ranks of its adapter, and B [columns, rank]."""

    columns: slice
    ranks: slice
    b: Tensor
    b_gradient: Tensor


@dataclass(frozen=True, slots=True)
class LoraMatrices:
    """Adapters of layers with the same input: a [ranks, in] has the A's of all parts."""

    a: Tensor
    a_gradient: Tensor
    parts: Sequence[LoraPart]
    scaling: float


class LoraProducts(Protocol):
    """Products of contiguous x [T, in], y [T, out] and their gradients.

    z and dz [T, width] are those of the same implementation.
    """

    def forward(self, x: Tensor, y: Tensor, memory: Workspace) -> Tensor:
        """Add to y; return z."""
        ...

    def backward(
        self, grad: Tensor, z: Tensor, grad_x: Tensor | None, mask: Tensor | None, memory: Workspace
    ) -> Tensor:
        """Compute dB of dy = `grad`, and return dz.

        Add to `grad_x`, if that is needed, what is multiplied by `mask` [T, in] if there is one.
        """
        ...

    def backward_weights(self, dz: Tensor, x: Tensor) -> None:
        """Compute dA."""
        ...


class TorchLoraProducts:
    """Implements `LoraProducts` by torch; z has the ranks of all parts."""

    def __init__(self, matrices: LoraMatrices) -> None:
        self._matrices = matrices

    def forward(self, x: Tensor, y: Tensor, memory: Workspace) -> Tensor:
        a, scaling = self._matrices.a, self._matrices.scaling
        z = memory.empty(len(x), len(a), dtype=x.dtype)
        torch.mm(x, a.T, out=z)
        for part in self._matrices.parts:
            y[:, part.columns].addmm_(z[:, part.ranks], part.b.T, alpha=scaling)
        return z

    def backward(
        self, grad: Tensor, z: Tensor, grad_x: Tensor | None, mask: Tensor | None, memory: Workspace
    ) -> Tensor:
        a, scaling = self._matrices.a, self._matrices.scaling
        dz = memory.empty(*z.shape, dtype=z.dtype)
        for part in self._matrices.parts:
            dy = grad[:, part.columns]
            _multiply(dy.T, z[:, part.ranks], scaling, part.b_gradient)
            _multiply(dy, part.b, scaling, dz[:, part.ranks])
        if grad_x is None:
            return dz
        if mask is None:
            grad_x.addmm_(dz, a)
        else:
            grad_x.addcmul_(dz @ a, mask)
        return dz

    def backward_weights(self, dz: Tensor, x: Tensor) -> None:
        torch.mm(dz.T, x, out=self._matrices.a_gradient)


def _multiply(a: Tensor, b: Tensor, factor: float, out: Tensor) -> None:
    torch.addmm(out, a, b, beta=0, alpha=factor, out=out)
