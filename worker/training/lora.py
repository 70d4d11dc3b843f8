"""Fused LoRA linear layer: the frozen weight and its adapter as one operation; PEFT's layers."""

from typing import Any

import torch
from torch import Tensor
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


def has_adapter(module: Any) -> bool:
    """True for a linear layer that PEFT has wrapped."""
    return hasattr(module, "lora_A")


def get_base_layer(module: Any) -> Any:
    """Get the linear layer itself, wrapped or not."""
    return module.base_layer if has_adapter(module) else module


def read_dropout(module: Any) -> float:
    """Read the dropout of a wrapped layer."""
    return float(getattr(module.lora_dropout["default"], "p", 0.0))
