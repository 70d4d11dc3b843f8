"""Memory-efficient elementwise ops (RMSNorm, RoPE, SwiGLU): each saves only its input."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class _RmsNorm(torch.autograd.Function):
    """x / rms(x) · w; the backward pass recomputes the normalized input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        normalized: Tensor = (x * inverse).to(x.dtype)
        return normalized.mul_(weight)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        x, weight, inverse = ctx.saved_tensors
        grad = (upstream[0] * weight).float()
        normalized = x * inverse
        projection = (grad * normalized).mean(-1, keepdim=True)
        return grad.sub_(normalized.mul_(projection)).mul_(inverse).to(x.dtype), None, None


class _ApplyRope(torch.autograd.Function):
    """In-place RoPE of the first heads of [T, heads, D]; the backward pass rotates back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, num_heads: int, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.heads = num_heads
        ctx.save_for_backward(cos, sin)
        ctx.mark_dirty(x)
        return _rope_in_place(x, num_heads, cos, sin)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        cos, sin = ctx.saved_tensors
        return _rope_in_place(upstream[0].clone(), ctx.heads, cos, -sin), None, None, None


def _rope_in_place(x: Tensor, num_heads: int, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x[:, :num_heads].chunk(2, dim=-1)
    rotated = first * cos - second * sin
    second.mul_(cos).add_(first * sin)
    first.copy_(rotated)
    return x


class _SwiGlu(torch.autograd.Function):
    """silu(gate) · up of [T, gate and up]; the backward pass recomputes silu."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        gate, up = gate_up.chunk(2, dim=-1)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        out = torch.empty_like(gate_up)
        gate_grad, up_grad = out.chunk(2, dim=-1)
        gate_grad.copy_(torch.ops.aten.silu_backward(upstream[0] * up, gate))
        torch.mul(upstream[0], functional.silu(gate), out=up_grad)
        return out


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last dimension: x / rms(x) · weight. The weight gets no gradient."""
    result: Tensor = _RmsNorm.apply(x, weight, eps)
    return result


def apply_rope(x: Tensor, num_heads: int, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary embeddings to the first `num_heads` of x [T, heads, D], in place.

    cos and sin are [T, 1, D / 2].
    """
    result: Tensor = _ApplyRope.apply(x, num_heads, cos, sin)
    return result


def swiglu(gate_up: Tensor) -> Tensor:
    """SwiGLU activation: silu(gate) · up of the two halves of [T, gate and up]."""
    result: Tensor = _SwiGlu.apply(gate_up)
    return result
