"""A training step of Llama-shaped models with LoRA, forward and backward pass, written by hand.

Equivalent to transformers with PEFT on the same weights (tests compare losses and gradients), but
without padding. To autograd, the model is one operation: recording each operation, autograd would
keep and copy more, and allocate all of it anew in each step. The passes of one layer are in
`llama_layer`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding

from worker.model.llama import LlamaShape, unsupported_reason
from worker.training.adapted_linear import FlatWeights, draw_seed
from worker.training.adapted_llama import AdaptedModel
from worker.training.attention import Attention, supports_rows_end_to_end
from worker.training.batching import MicroBatch
from worker.training.frozen_product import find_int8
from worker.training.fused_ops import Rope, TorchFusedOps
from worker.training.llama_layer import DecoderLayer, LayerRun, Normed, PassContext
from worker.training.losses import linear_cross_entropy
from worker.training.native_fused_ops import choose_fused_ops, find_kernels
from worker.training.native_lora_products import find_lora_kernels
from worker.training.neftune import add_embedding_noise, row_lengths
from worker.training.rounded_sizes import round_up
from worker.training.workspace import Workspace

# Steps of the padded numbers of tokens and of labels, see `rounded_sizes`.
TOKENS_STEP = 16
LABELS_STEP = 8


def supports(model: AdaptedModel) -> bool:
    """True if this module computes exactly what `model` does."""
    base: Any = model.get_base_model()
    return unsupported_reason(base, base.config.max_position_embeddings) is None


class _Step(torch.autograd.Function):
    """The whole model as one operation of autograd.

    It has a parameter as input so that autograd calls `backward`, which adds to the gradients of
    all parameters itself.
    """

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
    context: PassContext
    hidden: Sequence[Tensor]
    layers: Sequence[LayerRun | None]
    seeds: Sequence[int | None]
    last: Normed
    gradient: Tensor


class LlamaCausalLM:
    """Implements `forward.CausalLM` for a Llama-shaped model with an adapter.

    The backward pass of losses must be run before `token_nll` is called again: both use the same
    memory.
    """

    def __init__(
        self,
        model: AdaptedModel,
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
        self._embedding: Tensor = base.model.embed_tokens.weight
        self._rotary = base.model.rotary_emb
        self._head: Tensor = base.lm_head.weight
        self._dtype = self._head.dtype
        native = find_kernels(kernels, self._dtype, self._head.device)
        self._ops = choose_fused_ops(native)
        lora = find_lora_kernels(native)
        int8 = find_int8(native) if multiplies_int8 else None
        self._layers = [
            DecoderLayer(layer, self._shape, lora, int8) for layer in base.model.layers.children()
        ]
        self._linears = [linear for layer in self._layers for linear in layer.linears]
        self._norm = base.model.norm
        self._keep, self._scratch = Workspace(self._head.device), Workspace(self._head.device)
        self._run_number = 0
        self._adapter = FlatWeights(self._linears, self._dtype)

    @property
    def needs_padding(self) -> bool:
        device, head_dim = self._head.device, self._shape.head_dim
        return not supports_rows_end_to_end(device, self._dtype, head_dim)

    def use_float32(self) -> None:
        """Compute in float32; each weight is converted when it is used, so that memory suffices."""
        self._dtype = torch.float32
        self._ops = TorchFusedOps()
        self._adapter.bind(self._linears, self._dtype)

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
        self._adapter.begin_forward()
        context = self._make_context(batch, records=records)
        keep, width = self._keep, self._embedding.shape[1]
        shape = (round_up(len(batch.ids), step=TOKENS_STEP), width)
        # Without a backward pass, two buffers alternate.
        num_kept = len(self._layers) + 1 if records else 2
        hidden = [keep.empty(*shape, dtype=self._dtype) for _ in range(num_kept)]
        _fill(hidden[0], self._embed(batch, adds_noise=records))
        layers: list[LayerRun | None] = []
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
        self._adapter.begin_backward()
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
        self._adapter.end_backward()

    def _make_context(self, batch: MicroBatch, *, records: bool) -> PassContext:
        wide = torch.promote_types(self._dtype, torch.float32)
        like = torch.empty(0, dtype=wide, device=batch.ids.device)
        tables = self._rotary(like, batch.positions[None])
        half, shape = self._shape.head_dim // 2, self._shape
        cos, sin = (table[0, :, :half].contiguous() for table in tables)
        heads = shape.heads + 2 * shape.kv_heads
        rope = Rope(cos, sin, heads, heads - shape.kv_heads)
        attention = Attention(batch, shape, rope, self._ops, self._keep, self._scratch)
        adapts = records or any(linear.has_effect for linear in self._linears)
        return PassContext(
            attention, self._ops, self._keep, self._scratch, records, adapts, wide, shape.eps
        )

    def _embed(self, batch: MicroBatch, *, adds_noise: bool) -> Tensor:
        embedded: Tensor = embedding(batch.ids, self._embedding).to(self._dtype)
        if not adds_noise or not self._neftune_alpha:
            return embedded
        return add_embedding_noise(embedded, row_lengths(batch.positions), self._neftune_alpha)


def _fill(padded: Tensor, rows: Tensor) -> None:
    """Copy the rows into the first ones of `padded`, and set the others to zero."""
    padded[: len(rows)] = rows
    padded[len(rows) :].zero_()
