"""One decoder layer of Llama-shaped models with LoRA, forward and backward pass, written by hand.

Layers that share an input are merged: query, key and value into one product, gate and up into
another. Names: `hidden` is the residual stream, `grad_x` the gradient of the loss with respect to
`x`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.model.llama import LlamaShape
from worker.training.adapted_linear import AdaptedLinear, Projection
from worker.training.attention import Attention, Kept
from worker.training.frozen_product import Int8Kernels
from worker.training.fused_ops import FusedOps
from worker.training.native_lora_products import LoraKernels
from worker.training.workspace import Workspace


@dataclass(frozen=True, slots=True)
class PassContext:
    """Context that the layers share: `keep` has what the backward pass needs, `scratch` the rest.

    `wide` is the dtype of statistics: float32, or float64 for models in float64; `eps` is that of
    the norms. Adapters are left out unless this `adapts`: without a backward pass, those that add
    nothing are not computed.
    """

    attention: Attention
    ops: FusedOps
    keep: Workspace
    scratch: Workspace
    records: bool
    adapts: bool
    wide: torch.dtype
    eps: float

    def norm(self, hidden: Tensor, delta: Tensor | None, norm: Any) -> "Normed":
        """RMSNorm of `hidden + delta`."""
        total = hidden if delta is None else self.keep.empty(*hidden.shape, dtype=hidden.dtype)
        x = self.keep.empty(*hidden.shape, dtype=hidden.dtype)
        inverse = self.keep.empty(len(hidden), dtype=self.wide)
        weight = norm.weight.to(hidden.dtype)
        self.ops.add_norm(hidden, delta, weight, self.eps, total, x, inverse)
        return Normed(total, x, inverse, weight)

    def norm_backward(self, grad_x: Tensor, normed: "Normed", grad: Tensor) -> None:
        """Add the gradient of the norm's input to `grad`."""
        self.ops.norm_backward(grad_x, normed.total, normed.weight, normed.inverse, grad)


@dataclass(frozen=True, slots=True)
class Normed:
    """A norm's input, output, and 1 / rms of each row."""

    total: Tensor
    x: Tensor
    inverse: Tensor
    weight: Tensor


@dataclass(frozen=True, slots=True)
class LayerRun:
    """Tensors of a layer's forward pass, saved for its backward pass."""

    inputs: Normed
    qkv: Projection | None
    head_norms: Sequence[Normed]
    attention: Kept
    attended: Tensor
    o: Projection | None
    mlp_inputs: Normed
    gate_up: Projection | None
    gate_up_out: Tensor
    down: Projection | None


class DecoderLayer:
    """Weights of one decoder layer, its forward and its backward pass."""

    def __init__(
        self,
        layer: Any,
        shape: LlamaShape,
        lora: LoraKernels | None,
        int8: Int8Kernels | None,
    ) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._shape = shape
        self._qkv = AdaptedLinear(
            [attention.q_proj, attention.k_proj, attention.v_proj], lora, int8
        )
        self._o = AdaptedLinear([attention.o_proj], lora, int8)
        self._gate_up = AdaptedLinear([mlp.gate_proj, mlp.up_proj], lora, int8)
        self._down = AdaptedLinear([mlp.down_proj], lora, int8)
        self.linears = (self._qkv, self._o, self._gate_up, self._down)
        self.has_dropout = any(linear.dropout for linear in self.linears)
        self._input_norm = layer.input_layernorm
        self._mlp_norm = layer.post_attention_layernorm
        norms = (getattr(attention, "q_norm", None), getattr(attention, "k_norm", None))
        self._head_norms = [norm for norm in norms if norm is not None]

    def forward(
        self, hidden: Tensor, out: Tensor, context: PassContext, seed: int | None
    ) -> LayerRun:
        """Compute `out` [T, d] of `hidden` [T, d]; inputs are dropped by masks of the `seed`."""
        keep, scratch, dtype = context.keep, context.scratch, hidden.dtype
        adapts = context.adapts
        dropout = None if seed is None else torch.Generator(hidden.device).manual_seed(seed)
        inputs = context.norm(hidden, None, self._input_norm)
        with scratch.released_after():
            qkv = scratch.empty(len(hidden), self._qkv.weight.shape[0], dtype=dtype)
            qkv_run = self._qkv.forward(inputs.x, qkv, keep, dropout, adapts=adapts)
            head_norms = self._norm_heads(qkv, context)
            attended = keep.empty(len(hidden), self._o.weight.shape[1], dtype=dtype)
            attention = context.attention.forward(qkv, attended, records=context.records)
        with scratch.released_after():
            delta = scratch.empty(*hidden.shape, dtype=dtype)
            o_run = self._o.forward(attended, delta, keep, dropout, adapts=adapts)
            mlp_inputs = context.norm(hidden, delta, self._mlp_norm)
        gate_up = keep.empty(len(hidden), self._gate_up.weight.shape[0], dtype=dtype)
        gate_up_run = self._gate_up.forward(mlp_inputs.x, gate_up, keep, dropout, adapts=adapts)
        with scratch.released_after():
            activated = scratch.empty(len(hidden), self._down.weight.shape[1], dtype=dtype)
            context.ops.swiglu(gate_up, activated)
            down_run = self._down.forward(activated, out, keep, dropout, adapts=adapts)
        out.add_(mlp_inputs.total)
        return LayerRun(
            inputs, qkv_run, head_norms, attention, attended, o_run,
            mlp_inputs, gate_up_run, gate_up, down_run,
        )  # fmt: skip

    def backward(
        self, grad: Tensor, run: LayerRun, context: PassContext, *, is_first: bool
    ) -> None:
        """Turn `grad` [T, d], that of the layer's output, into that of its input, in place.

        The first layer's input is the frozen embedding, which needs none.
        """
        scratch = context.scratch
        with scratch.released_after():
            activated, grad_activated = (
                scratch.empty(len(grad), self._down.weight.shape[1], dtype=grad.dtype)
                for _ in range(2)
            )
            dz = self._down.backward(grad, run.down, grad_activated, scratch)
            grad_gate_up = scratch.empty(*run.gate_up_out.shape, dtype=grad.dtype)
            context.ops.swiglu_backward(run.gate_up_out, grad_activated, grad_gate_up, activated)
            self._down.backward_weights(dz, run.down, activated)
            grad_x = scratch.empty(*grad.shape, dtype=grad.dtype)
            dz = self._gate_up.backward(grad_gate_up, run.gate_up, grad_x, scratch)
            self._gate_up.backward_weights(dz, run.gate_up, run.mlp_inputs.x)
            context.norm_backward(grad_x, run.mlp_inputs, grad)
        with scratch.released_after():
            grad_attended = scratch.empty(*run.attended.shape, dtype=grad.dtype)
            dz = self._o.backward(grad, run.o, grad_attended, scratch)
            self._o.backward_weights(dz, run.o, run.attended)
            grad_qkv = scratch.empty(len(grad), self._qkv.weight.shape[0], dtype=grad.dtype)
            context.attention.backward(grad_attended, run.attention, grad_qkv)
            self._norm_heads_backward(grad_qkv, run.head_norms, context)
            grad_x = scratch.empty(*grad.shape, dtype=grad.dtype)
            dz = self._qkv.backward(grad_qkv, run.qkv, None if is_first else grad_x, scratch)
            self._qkv.backward_weights(dz, run.qkv, run.inputs.x)
            if not is_first:
                context.norm_backward(grad_x, run.inputs, grad)

    def _split_normed(self, qkv: Tensor) -> Sequence[Tensor]:
        """Views of the queries and the keys [T, heads, head_dim], if this layer norms them."""
        if not self._head_norms:
            return ()
        shape = self._shape
        heads = qkv.view(len(qkv), -1, shape.head_dim)
        parts: Sequence[Tensor] = heads.split([shape.heads, shape.kv_heads, shape.kv_heads], dim=1)
        return parts[:2]

    def _norm_heads(self, qkv: Tensor, context: PassContext) -> Sequence[Normed]:
        """Norm queries and keys in place, as Qwen 3 does."""
        runs = []
        for part, norm in zip(self._split_normed(qkv), self._head_norms, strict=True):
            rows = context.keep.empty(*part.shape, dtype=qkv.dtype).copy_(part)
            run = context.norm(rows.flatten(0, 1), None, norm)
            part.copy_(run.x.view_as(part))
            runs.append(run)
        return runs

    def _norm_heads_backward(
        self, grad_qkv: Tensor, runs: Sequence[Normed], context: PassContext
    ) -> None:
        for part, run in zip(self._split_normed(grad_qkv), runs, strict=True):
            grad = torch.zeros_like(run.total)
            context.norm_backward(part.flatten(0, 1).contiguous(), run, grad)
            part.copy_(grad.view_as(part))
