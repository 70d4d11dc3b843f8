"""Random inputs of fused operations, and the comparison of results with those in float64."""

from typing import Generic, TypeVar

import torch
from torch import Tensor

F64 = torch.float64
# Numbers in units of the last place of bfloat16, whose sums are in float32.
TOLERANCES = {F64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 1e-2}

OpsT = TypeVar("OpsT")


class Case(Generic[OpsT]):
    """Random inputs rounded to a dtype, and the comparison with results in float64."""

    def __init__(self, ops: OpsT, dtype: torch.dtype) -> None:
        self.ops, self.dtype = ops, dtype
        self.wide = torch.promote_types(self.dtype, torch.float32)
        self._generator = torch.Generator().manual_seed(0)

    def random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator, dtype=F64).to(self.dtype)

    def empty(self, *shape: int) -> Tensor:
        return torch.full(shape, torch.nan, dtype=self.dtype)

    def check(self, found: Tensor, expected: Tensor) -> None:
        tolerance = TOLERANCES[self.dtype]
        torch.testing.assert_close(
            found.to(F64), expected.detach(), rtol=tolerance, atol=tolerance * 2
        )


def leaf(x: Tensor) -> Tensor:
    return x.to(F64, copy=True).requires_grad_()
