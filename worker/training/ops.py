"""What happens between the matrix products, each as one operation that keeps only its input."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class _RmsNorm(torch.autograd.Function):
    """x / rms(x) · w; saves its input alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        unit: Tensor = (x * inverse).to(x.dtype)
        return unit.mul_(weight)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        x, weight, inverse = ctx.saved_tensors
        grad = (upstream[0] * weight).float()
        unit = x * inverse
        along = (grad * unit).mean(-1, keepdim=True)
        return grad.sub_(unit.mul_(along)).mul_(inverse).to(x.dtype), None, None


class _ApplyRope(torch.autograd.Function):
    """Rotary embedding of the first heads of [T, heads, D], in place; its inverse backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, heads: int, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.heads = heads
        ctx.save_for_backward(cos, sin)
        ctx.mark_dirty(x)
        return _rope_in_place(x, heads, cos, sin)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        cos, sin = ctx.saved_tensors
        return _rope_in_place(upstream[0].clone(), ctx.heads, cos, -sin), None, None, None


def _rope_in_place(x: Tensor, heads: int, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x[:, :heads].chunk(2, dim=-1)
    turned = first * cos - second * sin
    second.mul_(cos).add_(first * sin)
    first.copy_(turned)
    return x


class _SwiGlu(torch.autograd.Function):
    """silu(gate) · up of [T, gate and up]; saves its input alone."""

    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        ctx.save_for_backward(both)
        gate, up = both.chunk(2, dim=-1)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        (both,) = ctx.saved_tensors
        gate, up = both.chunk(2, dim=-1)
        out = torch.empty_like(both)
        gate_grad, up_grad = out.chunk(2, dim=-1)
        gate_grad.copy_(torch.ops.aten.silu_backward(upstream[0] * up, gate))
        torch.mul(upstream[0], functional.silu(gate), out=up_grad)
        return out


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / rms(x) · weight over the last dimension; the weight is frozen."""
    result: Tensor = _RmsNorm.apply(x, weight, eps)
    return result


def apply_rope(x: Tensor, heads: int, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of the first `heads` of x [T, heads and more, D]; overwrites x.

    cos and sin are [T, 1, D / 2].
    """
    result: Tensor = _ApplyRope.apply(x, heads, cos, sin)
    return result


def swiglu(both: Tensor) -> Tensor:
    """silu(gate) · up for the two halves of [T, gate and up]."""
    result: Tensor = _SwiGlu.apply(both)
    return result
