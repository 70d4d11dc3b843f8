"""Fused operations around a step's matrix products: norms, SwiGLU, RoPE, attention, the loss.

Written by torch's operations, for any device and dtype. `native_fused_ops` computes the same on
CPUs, each in one pass over its operands. Autograd records none of them: each operation has its
backward next to it, and a test compares both with autograd.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import silu, softmax

from worker.training.attention_products import (
    Heads,
    attend_by_products,
    attend_by_products_backward,
)
from worker.training.workspace import Workspace


class FusedOps(Protocol):
    """Operations on contiguous tensors of one dtype; outputs are the last arguments.

    Attention of rows longer than `max_attention_length` is left to torch's fused kernel. The
    backward pass of rows longer than `max_product_length` needs the output.
    """

    max_product_length: int
    max_attention_length: int

    def add_norm(
        self,
        hidden: Tensor,
        delta: Tensor | None,
        weight: Tensor,
        eps: float,
        total: Tensor,
        x: Tensor,
        inverse: Tensor,
    ) -> None:
        """total = hidden + delta [T, d]; x = total · inverse · weight with inverse = 1 / rms [T].

        Without a `delta`, `total` is `hidden`.
        """  # fmt: skip
        ...

    def norm_backward(
        self, grad_x: Tensor, total: Tensor, weight: Tensor, inverse: Tensor, grad: Tensor
    ) -> None:
        """Add the gradient of a norm's input to `grad` [T, d], that of the residual stream."""
        ...

    def swiglu(self, gate_up: Tensor, out: Tensor) -> None:
        """out [T, n] = silu(gate) · up of the halves of [T, 2n]."""
        ...

    def swiglu_backward(
        self, gate_up: Tensor, grad: Tensor, grad_gate_up: Tensor, out: Tensor
    ) -> None:
        """Compute the gradient of `gate_up`, and `out` again, so that it needs not be kept."""
        ...

    def gather_heads(self, x: Tensor, index: Tensor, rope: "Rope | None", out: Tensor) -> None:
        """out [rows, n] = rows `index` of x [.., n], zeros where it is -1, rotated by `rope`."""
        ...

    def gather_heads_back(self, x: Tensor, index: Tensor, rope: "Rope | None", out: Tensor) -> None:
        """The same for a gradient: rows are rotated back, after they were gathered."""
        ...

    def sum_copies(self, x: Tensor, places: Tensor) -> None:
        """Sum rows of x [.., n] that are copies: those at places [copies, ...], into the first."""
        ...

    def attend(self, heads: Heads, out: Tensor, keep: Workspace) -> Tensor:
        """Attend causally, scaled by 1 / √n; `out` has the queries' shape.

        Returns memory of `keep` that the backward pass needs.
        """
        ...

    def attend_backward(
        self,
        heads: Heads,
        out: Tensor | None,
        kept: Tensor,
        grad: Tensor,
        grads: Heads,
        scratch: Workspace,
    ) -> None:
        """Compute the gradients of `heads`; long rows need `out` for that."""  # fmt: skip
        ...

    def cross_entropy(
        self,
        logits: Tensor,
        labels: Tensor,
        smoothing: float,
        losses: Tensor,
        correct: Tensor,
        *,
        has_gradient: bool,
    ) -> None:
        """Compute losses [N] of logits [N, V], and whether the label's is the largest.

        `logits` become the losses' gradient if `has_gradient`, and undefined otherwise.
        """  # fmt: skip
        ...


class Rope:
    """Cosines and sines [T, n / 2] in float32 of a stream whose tokens have some heads each.

    Of the heads of a token, the first `rotated` are rotated.
    """

    def __init__(self, cos: Tensor, sin: Tensor, heads: int, rotated: int) -> None:
        self.cos, self.sin, self.heads, self.rotated = cos, sin, heads, rotated


class TorchFusedOps:
    """Implements `FusedOps` by torch's operations."""

    # Up to this length products are 1.2 to 3 times as fast as torch's fused kernel on CPUs, see
    # `bench.attention`; beyond it the weights kept for the backward pass get too large.
    max_product_length = max_attention_length = 1024

    def add_norm(
        self, hidden: Tensor, delta: Tensor | None, weight: Tensor, eps: float,
        total: Tensor, x: Tensor, inverse: Tensor,
    ) -> None:  # fmt: skip
        if delta is not None:
            torch.add(hidden, delta, out=total)
        squares = torch.linalg.vector_norm(total, dim=-1, dtype=inverse.dtype).square_()
        torch.rsqrt(squares.div_(total.shape[-1]).add_(eps), out=inverse)
        x.copy_((total * inverse[:, None]).mul_(weight))

    def norm_backward(
        self, grad_x: Tensor, total: Tensor, weight: Tensor, inverse: Tensor, grad: Tensor
    ) -> None:
        scaled = (grad_x * weight).to(inverse.dtype)
        normed = total * inverse[:, None]
        mean = (scaled * normed).mean(-1, keepdim=True)
        grad.add_(scaled.sub_(normed.mul_(mean)).mul_(inverse[:, None]))

    def swiglu(self, gate_up: Tensor, out: Tensor) -> None:
        gate, up = gate_up.chunk(2, dim=-1)
        torch.mul(silu(gate), up, out=out)

    def swiglu_backward(
        self, gate_up: Tensor, grad: Tensor, grad_gate_up: Tensor, out: Tensor
    ) -> None:
        gate, up = gate_up.chunk(2, dim=-1)
        grad_gate, grad_up = grad_gate_up.chunk(2, dim=-1)
        activated = silu(gate)
        torch.mul(grad, activated, out=grad_up)
        grad_gate.copy_(torch.ops.aten.silu_backward(grad * up, gate))
        torch.mul(activated, up, out=out)

    def gather_heads(self, x: Tensor, index: Tensor, rope: Rope | None, out: Tensor) -> None:
        rotated = x if rope is None else _rotate(x, rope, 1)
        torch.index_select(rotated, 0, index.clamp(min=0), out=out)
        out.masked_fill_((index < 0)[:, None], 0)

    def gather_heads_back(self, x: Tensor, index: Tensor, rope: Rope | None, out: Tensor) -> None:
        out.copy_(x[index] if rope is None else _rotate(x[index], rope, -1))

    def sum_copies(self, x: Tensor, places: Tensor) -> None:
        # In float32: a scatter-add would round to bfloat16 after every row.
        wide = torch.promote_types(x.dtype, torch.float32)
        x[places[0]] = x[places].sum(0, dtype=wide).to(x.dtype)

    def attend(self, heads: Heads, out: Tensor, keep: Workspace) -> Tensor:
        return attend_by_products(heads, out, keep, _causal_softmax)

    def attend_backward(
        self, heads: Heads, out: Tensor | None, kept: Tensor, grad: Tensor, grads: Heads,
        scratch: Workspace,
    ) -> None:  # fmt: skip
        attend_by_products_backward(heads, kept, grad, grads, scratch, _causal_softmax_backward)

    def cross_entropy(
        self, logits: Tensor, labels: Tensor, smoothing: float, losses: Tensor, correct: Tensor,
        *, has_gradient: bool,
    ) -> None:  # fmt: skip
        # argmax takes twenty times as long in bfloat16; of equal logits, each is the largest.
        own = logits.gather(1, labels[:, None])
        correct.copy_((own == logits.amax(-1, keepdim=True))[:, 0])
        logprobs = logits.to(losses.dtype).log_softmax(-1)
        losses.copy_(-logprobs.gather(1, labels[:, None])[:, 0])
        if smoothing:
            losses.lerp_(-logprobs.mean(-1), smoothing)
        if has_gradient:
            share = logprobs.exp_()
            share.scatter_add_(1, labels[:, None], torch.full_like(losses, smoothing - 1)[:, None])
            logits.copy_(share.sub_(smoothing / logits.shape[-1]))


def _causal_softmax(scores: Tensor, scale: float) -> None:
    """Turn scores [batch, m · length, length] into weights, in place; row i sees i + 1 keys."""
    length = scores.shape[-1]
    squares = scores.unflatten(1, (-1, length))
    later = torch.ones(length, length, dtype=torch.bool, device=scores.device).triu_(1)
    squares.masked_fill_(later, -torch.inf)
    scores.copy_(softmax(scores * scale, -1))


def _causal_softmax_backward(weights: Tensor, grad: Tensor, scale: float) -> None:
    """Turn the gradient of the weights into that of the scores, in place."""
    # Zero wherever the weight is zero, so that later positions get no gradient.
    scores_grad = torch.ops.aten._softmax_backward_data(grad, weights, -1, grad.dtype)
    torch.mul(scores_grad, scale, out=grad)


def _rotate(x: Tensor, rope: Rope, sign: int) -> Tensor:
    """Rotate heads [T · heads, n] of a stream by their tokens' angles, or back."""
    heads = x.unflatten(0, (-1, rope.heads))
    first, second = heads[:, : rope.rotated].chunk(2, dim=-1)
    cos, sin = rope.cos[:, None], sign * rope.sin[:, None]
    rotated = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return torch.cat([rotated.to(x.dtype), heads[:, rope.rotated :]], dim=1).flatten(0, 1)
