"""A training step of BERT-shaped encoders, forward and backward pass, written by hand.

Equivalent to transformers on the same weights (tests compare states and gradients), but without
padding outside of attention, with one product for query, key and value, and without autograd, which
would keep and copy more, and allocate all of it anew in each step. See `worker.training.llama`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from worker.encoding.backbone import Backbone
from worker.encoding.bert_files import Bert
from worker.encoding.tokenizer import PaddedBatch
from worker.training.adapted_linear import FlatWeights, draw_seed
from worker.training.encoders.attention import EncoderShape, make_attention
from worker.training.encoders.bert_layer import EncoderLayer, LayerRun, PassContext
from worker.training.encoders.fused_ops import choose_encoder_ops
from worker.training.fused_ops import TorchFusedOps
from worker.training.native_fused_ops import find_kernels
from worker.training.native_lora_products import find_lora_kernels
from worker.training.rounded_sizes import round_up
from worker.training.workspace import Workspace

# Step of the padded number of tokens, see `rounded_sizes`.
TOKENS_STEP = 32


def supports(backbone: Backbone) -> bool:
    """True if this module computes what `backbone` does, on its device."""
    config: Any = backbone.config
    return (
        # transformers' class is not imported for this: without it, the model is not of it.
        (isinstance(backbone, Bert) or type(backbone).__name__ == "BertModel")
        and backbone.device.type == "cpu"
        and config.hidden_act == "gelu"
        and not config.is_decoder
        and config.max_position_embeddings <= TorchFusedOps.max_attention_length
    )


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
    context: PassContext
    layers: Sequence[LayerRun]
    slots: Tensor


class BertEncoder:
    """Computes the states of a BERT-shaped backbone that is tuned in full or has adapters.

    The backward pass of states must be run before others are computed: both use the same memory.
    """

    def __init__(self, backbone: Backbone, dtype: torch.dtype, kernels: Path | None) -> None:
        """Compute in `dtype`, by native operations if there is a folder of `kernels`."""
        model: Any = backbone
        self._embeddings = model.embeddings
        self._dtype = dtype
        heads = model.config.num_attention_heads
        self._shape = EncoderShape(heads, model.config.hidden_size // heads)
        native = find_kernels(kernels, dtype, backbone.device)
        self._ops = choose_encoder_ops(native)
        lora = find_lora_kernels(native)
        wide = torch.promote_types(dtype, torch.float32)
        self._layers = [EncoderLayer(layer, self._ops, lora, wide) for layer in model.encoder.layer]
        self._keep, self._scratch = Workspace(backbone.device), Workspace(backbone.device)
        self._run: _Run | None = None
        self._run_number = 0
        parts = [part for layer in self._layers for part in layer.parts]
        self._weights = FlatWeights(parts, dtype)

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
        self._weights.begin_forward()
        slots, lengths = _find_tokens(texts.mask)
        ids = texts.ids.flatten()[slots]
        wide = self._weights.values.dtype
        attention = make_attention(ids, lengths, self._shape, self._ops, keep, scratch)
        context = PassContext(attention, self._ops, keep, scratch, wide)
        embedded = self._embed(texts, slots)
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
        self._weights.begin_backward()
        of_tokens = upstream.flatten(0, 1)[run.slots]
        output = run.layers[-1].normed.x
        grad = self._keep.empty(*output.shape, dtype=self._dtype)
        grad[: len(of_tokens)] = of_tokens
        grad[len(of_tokens) :].zero_()
        for index in reversed(range(len(self._layers))):
            layer = self._layers[index]
            layer.backward(grad, run.layers[index], run.context, is_first=index == 0)
        self._weights.end_backward()

    def _embed(self, texts: PaddedBatch, slots: Tensor) -> Tensor:
        """Embed the tokens [T, d] at these places of the batch; embeddings are frozen."""
        parts, norm = self._embeddings, self._embeddings.LayerNorm
        ids, types = texts.ids.flatten()[slots], torch.zeros_like(slots)
        if texts.token_type_ids is not None:
            types = texts.token_type_ids.flatten()[slots]
        with torch.no_grad():
            total = parts.word_embeddings(ids) + parts.token_type_embeddings(types)
            total = total + parts.position_embeddings(slots % texts.ids.shape[1])
            return layer_norm(total, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _find_tokens(mask: Tensor) -> tuple[Tensor, list[int]]:
    """Places of the tokens in a padded batch, shortest row first, and the rows' lengths."""
    lengths = mask.sum(1)
    order = lengths.argsort(stable=True)
    places = torch.arange(mask.numel(), device=mask.device).view(mask.shape)[order]
    return places[mask[order]], lengths[order].tolist()
