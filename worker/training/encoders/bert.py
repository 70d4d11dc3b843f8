"""A training step of BERT-shaped encoders, forward and backward pass, written by hand.

Equivalent to transformers on the same weights (tests compare states and gradients), but without
padding outside of attention, with one product for query, key and value, and without autograd, which
would keep and copy more, and allocate all of it anew in each step. See `worker.training.llama`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm
from transformers import BertModel, PreTrainedModel

from worker.encoding.tokenizer import PaddedBatch
from worker.training.adapted_linear import AdaptedLinear, FlatAdapter, Projection, draw_seed
from worker.training.attention import Kept
from worker.training.batching import MicroBatch, collate_texts
from worker.training.encoders.attention import EncoderAttention, EncoderShape
from worker.training.encoders.fused_ops import EncoderOps, choose_encoder_ops
from worker.training.encoders.tuned_linear import TunedLinear
from worker.training.fused_ops import TorchFusedOps
from worker.training.lora import get_base_layer
from worker.training.rounded_sizes import round_up
from worker.training.workspace import Workspace

# Step of the padded number of tokens, see `rounded_sizes`.
TOKENS_STEP = 32


def supports(backbone: PreTrainedModel) -> bool:
    """True if this module computes what `backbone` does, on its device."""
    config: Any = backbone.config
    return (
        type(backbone) is BertModel
        and backbone.device.type == "cpu"
        and config.hidden_act == "gelu"
        and not config.is_decoder
        and config.max_position_embeddings <= TorchFusedOps.max_attention_length
    )


class _Normed(NamedTuple):
    """A norm's input and output [T, d], and the mean and 1 / deviation of each row."""

    total: Tensor
    x: Tensor
    mean: Tensor
    inverse: Tensor


@dataclass(frozen=True, slots=True)
class _PassContext:
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
        """Write the gradient of weight and bias to this flat place."""
        self._gradient = gradient.view(2, -1) if self.parameters else None

    def forward(self, hidden: Tensor, delta: Tensor, context: _PassContext) -> _Normed:
        keep, weight, bias = context.keep, *(p.data for p in self._weights)
        total, x = (keep.empty(*hidden.shape, dtype=hidden.dtype) for _ in range(2))
        mean, inverse = (keep.empty(len(hidden), dtype=context.wide) for _ in range(2))
        context.ops.add_layer_norm(hidden, delta, weight, bias, self._eps, total, x, mean, inverse)
        return _Normed(total, x, mean, inverse)

    def backward(
        self, grad_x: Tensor, normed: _Normed, grad: Tensor, context: _PassContext
    ) -> None:
        """Compute `grad`, that of the sum, and those of weight and bias."""
        total, _, mean, inverse = normed
        ops, weight = context.ops, self._weights[0].data
        if self._gradient is not None:
            sums = torch.empty(2, len(weight), dtype=context.wide)
            ops.layer_norm_weight_backward(grad_x, total, mean, inverse, sums[0], sums[1])
            self._gradient.copy_(sums)
        ops.layer_norm_backward(grad_x, total, weight, mean, inverse, grad)


@dataclass(frozen=True, slots=True)
class _LayerRun:
    """Tensors of a layer's forward pass, saved for its backward pass."""

    x: Tensor
    qkv: Projection | None
    attention: Kept
    attended: Tensor
    o: Projection | None
    attention_normed: _Normed
    up: Projection | None
    inner: Tensor
    down: Projection | None
    normed: _Normed


class _EncoderLayer:
    """Weights of one layer, its forward and its backward pass."""

    def __init__(self, layer: Any, ops: EncoderOps, wide: torch.dtype) -> None:
        attention = layer.attention
        projections = attention.self
        self._qkv = _make_linear([projections.query, projections.key, projections.value], ops)
        self._o = _make_linear([attention.output.dense], ops)
        self._up = _make_linear([layer.intermediate.dense], ops)
        self._down = _make_linear([layer.output.dense], ops)
        self._attention_norm = _Norm(attention.output.LayerNorm, wide)
        self._norm = _Norm(layer.output.LayerNorm, wide)
        linears = (self._qkv, self._o, self._up, self._down)
        self.has_dropout = any(linear.dropout for linear in linears)
        self.parts = (*linears, self._attention_norm, self._norm)

    def forward(self, x: Tensor, context: _PassContext, seed: int | None) -> _LayerRun:
        """Compute the layer's states of x [T, d]; inputs are dropped by masks of the `seed`."""
        keep, scratch, dtype = context.keep, context.scratch, x.dtype
        dropout = None if seed is None else torch.Generator(x.device).manual_seed(seed)
        with scratch.released_after():
            qkv = scratch.empty(len(x), self._qkv.weight.shape[0], dtype=dtype)
            qkv_run = self._qkv.forward(x, qkv, keep, dropout)
            attended = keep.empty(len(x), self._o.weight.shape[1], dtype=dtype)
            attention = context.attention.forward(qkv, attended, records=False)
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
        return _LayerRun(
            x, qkv_run, attention, attended, o_run,
            attention_normed, up_run, inner, down_run, normed,
        )  # fmt: skip

    def backward(
        self, grad: Tensor, run: _LayerRun, context: _PassContext, *, is_first: bool
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
            self._down.backward_a(dz, run.down, activated)
            dz = self._up.backward(grad_inner, run.up, grad_x, scratch)
            self._up.backward_a(dz, run.up, run.attention_normed.x)
            torch.add(total, grad_x, out=grad)
        with scratch.released_after():
            total, grad_attended = (scratch.empty(*grad.shape, dtype=dtype) for _ in range(2))
            self._attention_norm.backward(grad, run.attention_normed, total, context)
            dz = self._o.backward(total, run.o, grad_attended, scratch)
            self._o.backward_a(dz, run.o, run.attended)
            grad_qkv = scratch.empty(len(grad), self._qkv.weight.shape[0], dtype=dtype)
            context.attention.backward(grad_attended, run.attention, grad_qkv)
            dz = self._qkv.backward(grad_qkv, run.qkv, None if is_first else grad, scratch)
            self._qkv.backward_a(dz, run.qkv, run.x)
            if not is_first:
                grad.add_(total)


def _make_linear(modules: Sequence[Any], ops: EncoderOps) -> TunedLinear | AdaptedLinear:
    """Merge layers with the same input, which are either trained or have adapters."""
    is_trained = get_base_layer(modules[0]).weight.requires_grad
    return TunedLinear(modules, ops) if is_trained else AdaptedLinear(modules)


def _widen(norm: nn.LayerNorm, wide: torch.dtype) -> list[Tensor]:
    return [norm.weight.detach().to(wide), norm.bias.detach().to(wide)]


class _Step(torch.autograd.Function):
    """The whole backbone as one operation of autograd."""

    @staticmethod
    def forward(ctx: Any, _parameter: Tensor, encoder: "BertEncoder", texts: PaddedBatch) -> Tensor:
        states, run = encoder.forward(texts, records=True)
        ctx.encoder = encoder
        # Saved by autograd, so that a pass that is computed again replaces it.
        ctx.save_for_backward(torch.tensor(run.number))
        return states

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[None, None, None]:
        (number,) = ctx.saved_tensors
        ctx.encoder.backward(int(number), upstream[0])
        return None, None, None


@dataclass(frozen=True, slots=True)
class _Run:
    """A forward pass, for its backward pass; `slots` [T] are the tokens' places in the batch."""

    number: int
    context: _PassContext
    layers: Sequence[_LayerRun]
    slots: Tensor


class BertEncoder:
    """Computes the states of a BERT-shaped backbone that is tuned in full or has adapters.

    The backward pass of states must be run before others are computed: both use the same memory.
    """

    def __init__(self, backbone: PreTrainedModel, dtype: torch.dtype, kernels: Path | None) -> None:
        """Compute in `dtype`, by native operations if there is a folder of `kernels`."""
        model: Any = backbone
        self._embeddings = model.embeddings
        self._dtype = dtype
        heads = model.config.num_attention_heads
        self._shape = EncoderShape(heads, model.config.hidden_size // heads)
        self._ops = choose_encoder_ops(kernels, dtype, backbone.device)
        wide = torch.promote_types(dtype, torch.float32)
        self._layers = [_EncoderLayer(layer, self._ops, wide) for layer in model.encoder.layer]
        self._keep, self._scratch = Workspace(backbone.device), Workspace(backbone.device)
        self._run: _Run | None = None
        self._run_number = 0
        parts = [part for layer in self._layers for part in layer.parts]
        self._weights = FlatAdapter([p for part in parts for p in part.parameters])
        self._values = self._weights.values.to(dtype, copy=True)
        self._gradient = torch.empty_like(self._values)
        sizes = [sum(p.numel() for p in part.parameters) for part in parts]
        places = zip(self._values.split(sizes), self._gradient.split(sizes), strict=True)
        for part, (values, gradient) in zip(parts, places, strict=True):
            part.bind(values, gradient)

    def compute_states(self, texts: PaddedBatch) -> Tensor:
        """Compute the last layer's states [rows, length, width]; those of padding are zero."""
        if torch.is_grad_enabled():
            states: Tensor = _Step.apply(self._weights.parameters[0], self, texts)
            return states
        return self.forward(texts, records=False)[0]

    def forward(self, texts: PaddedBatch, *, records: bool) -> tuple[Tensor, _Run]:
        self._run_number += 1
        keep, scratch = self._keep, self._scratch
        keep.release_all()
        scratch.release_all()
        self._values.copy_(self._weights.values)
        slots, lengths = _find_tokens(texts.mask)
        ids = texts.ids.flatten()[slots]
        batch = collate_texts([part.numpy() for part in ids.int().split(lengths)], ids.device)
        wide = self._weights.values.dtype
        attention = EncoderAttention(batch, lengths, self._shape, self._ops, keep, scratch)
        context = _PassContext(attention, self._ops, keep, scratch, wide)
        embedded = self._embed(batch, texts.token_type_ids, slots)
        x = keep.empty(round_up(len(ids), step=TOKENS_STEP), embedded.shape[1], dtype=self._dtype)
        x[: len(ids)] = embedded
        x[len(ids) :].zero_()
        layers = []
        for layer in self._layers:
            layers.append(layer.forward(x, context, draw_seed(layer, records=records)))
            x = layers[-1].normed.x
        states = torch.zeros(texts.ids.numel(), x.shape[1], dtype=wide, device=x.device)
        states[slots] = x[: len(ids)].to(wide)
        run = _Run(self._run_number, context, layers, slots)
        self._run = run if records else None
        return states.view(*texts.ids.shape, -1), run

    def backward(self, number: int, upstream: Tensor) -> None:
        """Add the weights' gradient to their parameters', given that of a pass's states."""
        run, self._run = self._run, None
        if run is None or run.number != number:
            raise RuntimeError("the memory of this forward pass has been used by another pass")
        of_tokens = upstream.flatten(0, 1)[run.slots]
        output = run.layers[-1].normed.x
        grad = self._keep.empty(*output.shape, dtype=self._dtype)
        grad[: len(of_tokens)] = of_tokens
        grad[len(of_tokens) :].zero_()
        for index in reversed(range(len(self._layers))):
            layer = self._layers[index]
            layer.backward(grad, run.layers[index], run.context, is_first=index == 0)
        self._weights.add_gradient(self._gradient)

    def _embed(self, batch: MicroBatch, token_types: Tensor | None, slots: Tensor) -> Tensor:
        """Embed the tokens [T, d]; embeddings are frozen."""
        parts, norm = self._embeddings, self._embeddings.LayerNorm
        types = torch.zeros_like(slots) if token_types is None else token_types.flatten()[slots]
        with torch.no_grad():
            total = parts.word_embeddings(batch.ids) + parts.token_type_embeddings(types)
            total = total + parts.position_embeddings(batch.positions)
            return layer_norm(total, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _find_tokens(mask: Tensor) -> tuple[Tensor, list[int]]:
    """Places of the tokens in a padded batch, shortest row first, and the rows' lengths."""
    lengths = mask.sum(1)
    order = lengths.argsort(stable=True)
    places = torch.arange(mask.numel(), device=mask.device).view(mask.shape)[order]
    return places[mask[order]], lengths[order].tolist()
