"""LoRA linear layers: the frozen weight and its adapter as one operation; PEFT's layers."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class _LoraLinear(torch.autograd.Function):
    """x·Wᵀ + s·(x·Aᵀ)·Bᵀ, with the second product accumulated in place.

    Computed as separate modules, it would take four additional passes over the output and over the
    gradient; on a CPU these memory accesses cost more than the LoRA's own arithmetic.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scaling: float,
    ) -> Tensor:
        projected = x @ a.T
        out = functional.linear(x, weight, bias)
        out.addmm_(projected, b.T, alpha=scaling)
        ctx.save_for_backward(x, weight, a, b, projected)
        ctx.scaling = scaling
        return out

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = upstream
        x, weight, a, b, projected = ctx.saved_tensors
        projected_grad = (grad @ b).mul_(ctx.scaling)
        x_grad = None
        # The first layer's input is the frozen embedding, which needs no gradient.
        if ctx.needs_input_grad[0]:
            x_grad = grad @ weight
            x_grad.addmm_(projected_grad, a)
        a_grad = projected_grad.T @ x
        b_grad = (grad.T @ projected).mul_(ctx.scaling)
        return x_grad, None, None, a_grad, b_grad, None


def lora_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
) -> Tensor:
    """x [T, in], frozen weight [out, in] and bias, a [rank, in], b [out, rank] -> [T, out]."""
    result: Tensor = _LoraLinear.apply(x, weight, bias, a, b, scaling)
    return result


class LoraLinear(nn.Module):
    """A frozen linear layer with a trainable LoRA in float32. A is random, B is zero."""

    def __init__(self, base: nn.Linear, *, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.base_layer = base
        self.scaling = alpha / rank
        self.dropout = nn.Dropout(dropout)
        device = base.weight.device
        # Drawn on the CPU, as PEFT does: the same numbers on each device.
        a = nn.init.kaiming_uniform_(torch.empty(rank, base.in_features), a=5**0.5)
        self.lora_a = nn.Parameter(a.to(device))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> [..., out]"""
        a, b = self.lora_a.to(x.dtype), self.lora_b.to(x.dtype)
        if self.dropout.training and self.dropout.p:
            delta = self.dropout(x) @ a.T @ b.T
            dropped: Tensor = self.base_layer(x) + self.scaling * delta
            return dropped
        flat = x.reshape(-1, x.shape[-1])
        base = self.base_layer
        out = lora_linear(flat, base.weight, base.bias, a, b, self.scaling)
        return out.view(*x.shape[:-1], out.shape[-1])


class Adapter(NamedTuple):
    """Matrices of a layer's LoRA [rank, in] and [out, rank], its factor, and its dropout."""

    a: nn.Parameter
    b: nn.Parameter
    scaling: float
    dropout: float


def find_adapter(module: Any) -> Adapter | None:
    """Find the adapter of a linear layer, by PEFT or a `LoraLinear`; None if it is not wrapped."""
    if isinstance(module, LoraLinear):
        return Adapter(module.lora_a, module.lora_b, module.scaling, module.dropout.p)
    if not hasattr(module, "lora_A"):
        return None
    return Adapter(
        module.lora_A["default"].weight,
        module.lora_B["default"].weight,
        float(module.scaling["default"]),
        float(getattr(module.lora_dropout["default"], "p", 0.0)),
    )


def get_base_layer(module: Any) -> Any:
    """Get the linear layer itself, wrapped or not."""
    return module.base_layer if find_adapter(module) else module
