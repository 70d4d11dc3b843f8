"""A training step of Llama-shaped models with LoRA, forward and backward pass, written by hand.

Equivalent to transformers with PEFT on the same weights (tests compare losses and gradients), but
without padding, and with the layers that share an input merged: query, key and value into one
product, gate and up into another. To autograd, the model is one operation: it would keep and copy
more, and allocate all of it anew in each step, which on a CPU takes half as long as the products.

Names: `hidden` is the residual stream, `grad_x` the gradient of the loss with respect to `x`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from worker.model.llama import LlamaShape, unsupported_reason
from worker.training.adapted_linear import AdaptedLinear, FlatWeights, Projection, draw_seed
from worker.training.attention import Attention, Kept, supports_rows_end_to_end
from worker.training.batching import MicroBatch
from worker.training.frozen_product import Int8Kernels, find_int8
from worker.training.fused_ops import FusedOps, Rope, TorchFusedOps
from worker.training.losses import linear_cross_entropy
from worker.training.native_fused_ops import choose_fused_ops, find_kernels
from worker.training.neftune import add_embedding_noise, row_lengths
from worker.training.rounded_sizes import round_up
from worker.training.workspace import Workspace

# Steps of the padded numbers of tokens and of labels, see `rounded_sizes`.
TOKENS_STEP = 16
LABELS_STEP = 8


def supports(model: PeftModel) -> bool:
    """True if this module computes exactly what `model` does."""
    base: Any = model.get_base_model()
    return unsupported_reason(base, base.config.max_position_embeddings) is None


@dataclass(frozen=True, slots=True)
class _PassContext:
    """Context that the layers share: `keep` has what the backward pass needs, `scratch` the rest.

    `wide` is the dtype of statistics: float32, or float64 for models in float64.
    """

    attention: Attention
    ops: FusedOps
    keep: Workspace
    scratch: Workspace
    records: bool
    wide: torch.dtype

    def norm(self, hidden: Tensor, delta: Tensor | None, norm: Any) -> "_Normed":
        """RMSNorm of `hidden + delta`."""
        total = hidden if delta is None else self.keep.empty(*hidden.shape, dtype=hidden.dtype)
        x = self.keep.empty(*hidden.shape, dtype=hidden.dtype)
        inverse = self.keep.empty(len(hidden), dtype=self.wide)
        weight = norm.weight.to(hidden.dtype)
        self.ops.add_norm(hidden, delta, weight, norm.variance_epsilon, total, x, inverse)
        return _Normed(total, x, inverse, weight)

    def norm_backward(self, grad_x: Tensor, normed: "_Normed", grad: Tensor) -> None:
        """Add the gradient of the norm's input to `grad`."""
        self.ops.norm_backward(grad_x, normed.total, normed.weight, normed.inverse, grad)


@dataclass(frozen=True, slots=True)
class _Normed:
    """A norm's input, output, and 1 / rms of each row."""

    total: Tensor
    x: Tensor
    inverse: Tensor
    weight: Tensor


@dataclass(frozen=True, slots=True)
class _LayerRun:
    """Tensors of a layer's forward pass, saved for its backward pass."""

    inputs: _Normed
    qkv: Projection | None
    head_norms: Sequence[_Normed]
    attention: Kept
    attended: Tensor
    o: Projection | None
    mlp_inputs: _Normed
    gate_up: Projection | None
    gate_up_out: Tensor
    down: Projection | None


class _DecoderLayer:
    """Weights of one decoder layer, its forward and its backward pass."""

    def __init__(self, layer: Any, shape: LlamaShape, int8: Int8Kernels | None) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._shape = shape
        self._qkv = AdaptedLinear([attention.q_proj, attention.k_proj, attention.v_proj], int8)
        self._o = AdaptedLinear([attention.o_proj], int8)
        self._gate_up = AdaptedLinear([mlp.gate_proj, mlp.up_proj], int8)
        self._down = AdaptedLinear([mlp.down_proj], int8)
        self.linears = (self._qkv, self._o, self._gate_up, self._down)
        self.has_dropout = any(linear.dropout for linear in self.linears)
        self._input_norm = layer.input_layernorm
        self._mlp_norm = layer.post_attention_layernorm
        norms = (getattr(attention, "q_norm", None), getattr(attention, "k_norm", None))
        self._head_norms = [norm for norm in norms if norm is not None]

    def forward(
        self, hidden: Tensor, out: Tensor, context: _PassContext, seed: int | None
    ) -> _LayerRun:
        """Compute `out` [T, d] of `hidden` [T, d]; inputs are dropped by masks of the `seed`."""
        keep, scratch, dtype = context.keep, context.scratch, hidden.dtype
        dropout = None if seed is None else torch.Generator(hidden.device).manual_seed(seed)
        inputs = context.norm(hidden, None, self._input_norm)
        with scratch.released_after():
            qkv = scratch.empty(len(hidden), self._qkv.weight.shape[0], dtype=dtype)
            qkv_run = self._qkv.forward(inputs.x, qkv, keep, dropout)
            head_norms = self._norm_heads(qkv, context)
            attended = keep.empty(len(hidden), self._o.weight.shape[1], dtype=dtype)
            attention = context.attention.forward(qkv, attended, records=context.records)
        with scratch.released_after():
            delta = scratch.empty(*hidden.shape, dtype=dtype)
            o_run = self._o.forward(attended, delta, keep, dropout)
            mlp_inputs = context.norm(hidden, delta, self._mlp_norm)
        gate_up = keep.empty(len(hidden), self._gate_up.weight.shape[0], dtype=dtype)
        gate_up_run = self._gate_up.forward(mlp_inputs.x, gate_up, keep, dropout)
        with scratch.released_after():
            activated = scratch.empty(len(hidden), self._down.weight.shape[1], dtype=dtype)
            context.ops.swiglu(gate_up, activated)
            down_run = self._down.forward(activated, out, keep, dropout)
        out.add_(mlp_inputs.total)
        return _LayerRun(
            inputs, qkv_run, head_norms, attention, attended, o_run,
            mlp_inputs, gate_up_run, gate_up, down_run,
        )  # fmt: skip

    def backward(
        self, grad: Tensor, run: _LayerRun, context: _PassContext, *, is_first: bool
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

    def _norm_heads(self, qkv: Tensor, context: _PassContext) -> Sequence[_Normed]:
        """Norm queries and keys in place, as Qwen 3 does."""
        runs = []
        for part, norm in zip(self._split_normed(qkv), self._head_norms, strict=True):
            rows = context.keep.empty(*part.shape, dtype=qkv.dtype).copy_(part)
            run = context.norm(rows.flatten(0, 1), None, norm)
            part.copy_(run.x.view_as(part))
            runs.append(run)
        return runs

    def _norm_heads_backward(
        self, grad_qkv: Tensor, runs: Sequence[_Normed], context: _PassContext
    ) -> None:
        for part, run in zip(self._split_normed(grad_qkv), runs, strict=True):
            grad = torch.zeros_like(run.total)
            context.norm_backward(part.flatten(0, 1).contiguous(), run, grad)
            part.copy_(grad.view_as(part))


class _Step(torch.autograd.Function):
    """The whole model as one operation of autograd."""

    @staticmethod
    def forward(
        ctx: Any, _parameter: Tensor, model: "LlamaCausalLM", batch: MicroBatch, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        losses, correct, ctx.run = model.forward(batch, smoothing, records=True)
        ctx.model = model
        ctx.mark_non_differentiable(correct)
        return losses, correct

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[None, None, None, None]:
        ctx.model.backward(ctx.run, upstream[0])
        return None, None, None, None


@dataclass(frozen=True, slots=True)
class _Run:
    """A forward pass, for its backward pass.

    hidden     [T, d] each: the input of each layer, then the last one's output; T is padded
    layers     None for layers that are computed again
    seeds      of each layer's dropout
    last, gradient  [N, d], N padded: the last norm of each label's state, and the gradient of each
                    label's loss by the norm's output
    """

    number: int
    batch: MicroBatch
    context: _PassContext
    hidden: Sequence[Tensor]
    layers: Sequence[_LayerRun | None]
    seeds: Sequence[int | None]
    last: _Normed
    gradient: Tensor


class LlamaCausalLM:
    """Implements `forward.CausalLM` for a Llama-shaped model with an adapter.

    The backward pass of losses must be run before `token_nll` is called again: both use the same
    memory.
    """

    def __init__(
        self,
        model: PeftModel,
        *,
        neftune_alpha: float = 0.0,
        gradient_checkpointing: bool = False,
        kernels: Path | None = None,
        multiplies_int8: bool = False,
    ) -> None:
        """Native ops are used if there is a folder of `kernels`; products in int8, if possible."""
        base: Any = model.get_base_model()
        self._neftune_alpha = neftune_alpha
        self._recomputes = gradient_checkpointing
        # Rows that share a prefix would share its noise.
        self.supports_shared_prefix = neftune_alpha == 0
        self._shape = LlamaShape.of(base.config)
        self._embedding: nn.Embedding = base.model.embed_tokens
        self._rotary = base.model.rotary_emb
        self._head: Tensor = base.lm_head.weight
        self._dtype = self._head.dtype
        native = find_kernels(kernels, self._dtype, self._head.device)
        self._ops = choose_fused_ops(native)
        int8 = find_int8(native) if multiplies_int8 else None
        self._layers = [_DecoderLayer(layer, self._shape, int8) for layer in base.model.layers]
        self._linears = [linear for layer in self._layers for linear in layer.linears]
        self._norm = base.model.norm
        self._keep, self._scratch = Workspace(self._head.device), Workspace(self._head.device)
        self._run_number = 0
        self._adapter = FlatWeights([p for linear in self._linears for p in linear.parameters])
        self._bind()

    @property
    def needs_padding(self) -> bool:
        device, head_dim = self._head.device, self._shape.head_dim
        return not supports_rows_end_to_end(device, self._dtype, head_dim)

    def _bind(self) -> None:
        """Give the layers their places in the adapter's weights, rounded to the model's dtype."""
        self._values = self._adapter.values.to(self._dtype, copy=True)
        self._gradient = torch.empty_like(self._values)
        sizes = [sum(p.numel() for p in linear.parameters) for linear in self._linears]
        places = zip(self._values.split(sizes), self._gradient.split(sizes), strict=True)
        for linear, place in zip(self._linears, places, strict=True):
            linear.bind(*place)

    def use_float32(self) -> None:
        """Compute in float32; each weight is converted when it is used, so that memory suffices."""
        self._dtype = torch.float32
        self._ops = TorchFusedOps()
        self._bind()

    def count_float32_bytes(self) -> int:
        layers = (linear.weight.numel() for linear in self._linears)
        return torch.float32.itemsize * max(self._head.numel(), *layers)

    def token_nll(
        self, batch: MicroBatch, *, label_smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Compute each label's NLL [N] in float32, and "it was the argmax" [N]."""
        if torch.is_grad_enabled():
            losses, correct = _Step.apply(self._adapter.parameters[0], self, batch, label_smoothing)
        else:
            losses, correct, _ = self.forward(batch, label_smoothing, records=False)
        return losses, correct

    def forward(
        self, batch: MicroBatch, smoothing: float, *, records: bool
    ) -> tuple[Tensor, Tensor, _Run]:
        """Compute what `token_nll` does, and what `backward` needs if this `records`."""
        self._run_number += 1
        self._keep.release_all()
        self._scratch.release_all()
        self._values.copy_(self._adapter.values)
        context = self._make_context(batch, records=records)
        keep, width = self._keep, self._embedding.embedding_dim
        shape = (round_up(len(batch.ids), step=TOKENS_STEP), width)
        # Without a backward pass, two buffers alternate.
        num_kept = len(self._layers) + 1 if records else 2
        hidden = [keep.empty(*shape, dtype=self._dtype) for _ in range(num_kept)]
        _fill(hidden[0], self._embed(batch, adds_noise=records))
        layers: list[_LayerRun | None] = []
        seeds = [draw_seed(layer, records=records) for layer in self._layers]
        for index, (layer, seed) in enumerate(zip(self._layers, seeds, strict=True)):
            states = hidden[index % num_kept], hidden[(index + 1) % num_kept]
            if records and not self._recomputes:
                layers.append(layer.forward(*states, context, seed))
                continue
            with keep.released_after():
                layer.forward(*states, context, seed)
            layers.append(None)
        out = hidden[len(self._layers) % num_kept]
        num_labels = round_up(len(batch.labels), step=LABELS_STEP)
        predicting = keep.empty(num_labels, width, dtype=self._dtype)
        _fill(predicting, out[batch.logit_positions])
        last = context.norm(predicting, None, self._norm)
        gradient = keep.empty(*last.x.shape, dtype=self._dtype) if records else None
        losses, correct = linear_cross_entropy(
            last.x,
            self._head.to(self._dtype),
            batch.labels,
            ops=self._ops,
            memory=self._scratch,
            smoothing=smoothing,
            gradient=gradient,
        )
        kept = last.x if gradient is None else gradient
        run = _Run(self._run_number, batch, context, hidden, layers, seeds, last, kept)
        return losses, correct, run

    def backward(self, run: _Run, upstream: Tensor) -> None:
        """Add the adapter's gradient to its parameters', given that of the losses [N]."""
        if run.number != self._run_number:
            raise RuntimeError("the memory of this forward pass has been used by another pass")
        self._run_number += 1
        context, keep, dtype = run.context, self._keep, self._dtype
        num_labels = len(upstream)
        run.gradient[:num_labels].mul_(upstream[:, None])
        grad_labels = torch.zeros_like(run.gradient)
        context.norm_backward(run.gradient, run.last, grad_labels)
        grad = keep.empty(*run.hidden[0].shape, dtype=dtype).zero_()
        # In the prefix, a state may predict a label of each row.
        grad.index_add_(0, run.batch.logit_positions, grad_labels[:num_labels])
        for index in reversed(range(len(self._layers))):
            layer, layer_run = self._layers[index], run.layers[index]
            with keep.released_after():
                if layer_run is None:
                    states = run.hidden[index], keep.empty(*grad.shape, dtype=dtype)
                    layer_run = layer.forward(*states, context, run.seeds[index])
                layer.backward(grad, layer_run, context, is_first=index == 0)
        self._adapter.add_gradient(self._gradient)

    def _make_context(self, batch: MicroBatch, *, records: bool) -> _PassContext:
        wide = torch.promote_types(self._dtype, torch.float32)
        like = torch.empty(0, dtype=wide, device=batch.ids.device)
        tables = self._rotary(like, batch.positions[None])
        half, shape = self._shape.head_dim // 2, self._shape
        cos, sin = (table[0, :, :half].contiguous() for table in tables)
        heads = shape.heads + 2 * shape.kv_heads
        rope = Rope(cos, sin, heads, heads - shape.kv_heads)
        attention = Attention(batch, shape, rope, self._ops, self._keep, self._scratch)
        return _PassContext(attention, self._ops, self._keep, self._scratch, records, wide)

    def _embed(self, batch: MicroBatch, *, adds_noise: bool) -> Tensor:
        embedded: Tensor = self._embedding(batch.ids).to(self._dtype)
        if not adds_noise or not self._neftune_alpha:
            return embedded
        return add_embedding_noise(embedded, row_lengths(batch.positions), self._neftune_alpha)


def _fill(padded: Tensor, rows: Tensor) -> None:
    """Copy the rows into the first ones of `padded`, and set the others to zero."""
    padded[: len(rows)] = rows
    padded[len(rows) :].zero_()
