"""One layer of a BERT-shaped encoder: its weights, its forward and its backward pass by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from worker.training.adapted_linear import AdaptedLinear, Projection
from worker.training.encoders.attention import EncoderAttention
from worker.training.encoders.fused_ops import EncoderOps
from worker.training.encoders.tuned_linear import TunedLinear
from worker.training.lora import get_base_layer
from worker.training.native_lora_products import LoraKernels
from worker.training.workspace import Workspace


class Normed(NamedTuple):
    """A norm's input and output [T, d], and the mean and 1 / deviation of each row."""

    total: Tensor
    x: Tensor
    mean: Tensor
    inverse: Tensor


@dataclass(frozen=True, slots=True)
class PassContext:
    """Context that the layers share: `keep` has what the backward pass needs, `scratch` the rest.

    `wide` is the dtype of statistics: float32, or float64 for models in float64.
    """

    attention: EncoderAttention
    ops: EncoderOps
    keep: Workspace
    scratch: Workspace
    wide: torch.dtype


class _Norm:
    """A LayerNorm, trained or frozen, of the sum of the residual stream and a layer's output."""

    def __init__(self, norm: nn.LayerNorm, wide: torch.dtype) -> None:
        is_trained = norm.weight.requires_grad
        self.parameters = [norm.weight, norm.bias] if is_trained else []
        # Those that are trained are used as they are, without rounding to the model's dtype.
        self._weights = [norm.weight, norm.bias] if is_trained else _widen(norm, wide)
        self._eps = norm.eps
        self._gradient: Tensor | None = None

    def bind(self, values: Tensor, gradient: Tensor) -> None:
        """See TrainedLayer; the values are used without rounding."""
        self._gradient = gradient.view(2, -1) if self.parameters else None

    def forward(self, hidden: Tensor, delta: Tensor, context: PassContext) -> Normed:
        keep, weight, bias = context.keep, *(p.data for p in self._weights)
        total, x = (keep.empty(*hidden.shape, dtype=hidden.dtype) for _ in range(2))
        mean, inverse = (keep.empty(len(hidden), dtype=context.wide) for _ in range(2))
        context.ops.add_layer_norm(hidden, delta, weight, bias, self._eps, total, x, mean, inverse)
        return Normed(total, x, mean, inverse)

    def backward(self, grad_x: Tensor, normed: Normed, grad: Tensor, context: PassContext) -> None:
        """Compute `grad`, that of the sum, and those of weight and bias."""
        total, _, mean, inverse = normed
        ops, weight = context.ops, self._weights[0].data
        if self._gradient is not None:
            sums = torch.empty(2, len(weight), dtype=context.wide)
            ops.layer_norm_weight_backward(grad_x, total, mean, inverse, sums[0], sums[1])
            self._gradient.copy_(sums)
        ops.layer_norm_backward(grad_x, total, weight, mean, inverse, grad)


@dataclass(frozen=True, slots=True)
class LayerRun:
    """Tensors of a layer's forward pass, saved for its backward pass."""

    x: Tensor
    qkv: Projection | None
    attention: Any
    attended: Tensor
    o: Projection | None
    attention_normed: Normed
    up: Projection | None
    inner: Tensor
    down: Projection | None
    normed: Normed


class EncoderLayer:
    """Weights of one layer, its forward and its backward pass."""

    def __init__(
        self, layer: Any, ops: EncoderOps, lora: LoraKernels | None, wide: torch.dtype
    ) -> None:
        attention = layer.attention
        projections = attention.self
        self._qkv = _make_linear([projections.query, projections.key, projections.value], ops, lora)
        self._o = _make_linear([attention.output.dense], ops, lora)
        self._up = _make_linear([layer.intermediate.dense], ops, lora)
        self._down = _make_linear([layer.output.dense], ops, lora)
        self._attention_norm = _Norm(attention.output.LayerNorm, wide)
        self._norm = _Norm(layer.output.LayerNorm, wide)
        linears = (self._qkv, self._o, self._up, self._down)
        self.has_dropout = any(linear.dropout for linear in linears)
        self.parts = (*linears, self._attention_norm, self._norm)

    def forward(self, x: Tensor, context: PassContext, seed: int | None) -> LayerRun:
        """Compute the layer's states of x [T, d]; inputs are dropped by masks of the `seed`."""
        keep, scratch, dtype = context.keep, context.scratch, x.dtype
        dropout = None if seed is None else torch.Generator(x.device).manual_seed(seed)
        with scratch.released_after():
            memory = keep if context.attention.keeps_input else scratch
            qkv = memory.empty(len(x), self._qkv.weight.shape[0], dtype=dtype)
            qkv_run = self._qkv.forward(x, qkv, keep, dropout)
            attended = keep.empty(len(x), self._o.weight.shape[1], dtype=dtype)
            attention = context.attention.forward(qkv, attended)
        with scratch.released_after():
            delta = scratch.empty(*x.shape, dtype=dtype)
            o_run = self._o.forward(attended, delta, keep, dropout)
            attention_normed = self._attention_norm.forward(x, delta, context)
            inner = keep.empty(len(x), self._up.weight.shape[0], dtype=dtype)
            up_run = self._up.forward(attention_normed.x, inner, keep, dropout)
            activated = scratch.empty(*inner.shape, dtype=dtype)
            context.ops.gelu(inner, activated)
            down_run = self._down.forward(activated, delta, keep, dropout)
            normed = self._norm.forward(attention_normed.x, delta, context)
        return LayerRun(
            x, qkv_run, attention, attended, o_run,
            attention_normed, up_run, inner, down_run, normed,
        )  # fmt: skip

    def backward(
        self, grad: Tensor, run: LayerRun, context: PassContext, *, is_first: bool
    ) -> None:
        """Turn `grad` [T, d], that of the layer's output, into that of its input, in place.

        The first layer's input is the frozen embedding, which needs none.
        """
        scratch, dtype = context.scratch, grad.dtype
        with scratch.released_after():
            total, grad_x = (scratch.empty(*grad.shape, dtype=dtype) for _ in range(2))
            self._norm.backward(grad, run.normed, total, context)
            activated, grad_activated, grad_inner = (
                scratch.empty(*run.inner.shape, dtype=dtype) for _ in range(3)
            )
            dz = self._down.backward(total, run.down, grad_activated, scratch)
            context.ops.gelu_backward(run.inner, grad_activated, grad_inner, activated)
            self._down.backward_weights(dz, run.down, activated)
            dz = self._up.backward(grad_inner, run.up, grad_x, scratch)
            self._up.backward_weights(dz, run.up, run.attention_normed.x)
            torch.add(total, grad_x, out=grad)
        with scratch.released_after():
            total, grad_attended = (scratch.empty(*grad.shape, dtype=dtype) for _ in range(2))
            self._attention_norm.backward(grad, run.attention_normed, total, context)
            dz = self._o.backward(total, run.o, grad_attended, scratch)
            self._o.backward_weights(dz, run.o, run.attended)
            grad_qkv = scratch.empty(len(grad), self._qkv.weight.shape[0], dtype=dtype)
            context.attention.backward(grad_attended, run.attention, grad_qkv)
            dz = self._qkv.backward(grad_qkv, run.qkv, None if is_first else grad, scratch)
            self._qkv.backward_weights(dz, run.qkv, run.x)
            if not is_first:
                grad.add_(total)


def _make_linear(
    modules: Sequence[Any], ops: EncoderOps, lora: LoraKernels | None
) -> TunedLinear | AdaptedLinear:
    """Merge layers with the same input, which are either trained or have adapters."""
    is_trained = get_base_layer(modules[0]).weight.requires_grad
    return TunedLinear(modules, ops) if is_trained else AdaptedLinear(modules, lora)


def _widen(norm: nn.LayerNorm, wide: torch.dtype) -> list[Tensor]:
    return [norm.weight.detach().to(wide), norm.bias.detach().to(wide)]
