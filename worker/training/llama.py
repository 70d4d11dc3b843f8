"""Forward pass of Llama-shaped models over a packed token stream, optimized for LoRA training.

Equivalent to transformers with PEFT on the same weights (a test compares losses and gradients), but
without padding, with LoRA fused into the linear layers, and with linear layers that share an input
merged: query, key and value into one product, gate and up into another.
"""

from functools import partial
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional

from worker.training.attention import AttentionShape, varlen_attention
from worker.training.batching import MicroBatch
from worker.training.lora import get_base_layer, has_adapter, lora_linear, read_dropout
from worker.training.losses import fused_linear_cross_entropy
from worker.training.neftune import add_embedding_noise, row_lengths
from worker.training.ops import apply_rope, rms_norm, swiglu
from worker.training.recomputation import recompute

# Model types whose layers `_DecoderLayer` computes, including the q and k norms of Qwen3.
SUPPORTED_MODEL_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
# Rotary embeddings that do not depend on the row's length.
SUPPORTED_ROPE_TYPES = frozenset({"default", "linear", "llama3", "yarn"})


def supports(model: PeftModel) -> bool:
    """True if this module computes exactly what `model` does."""
    base: Any = model.get_base_model()
    config = base.config
    return bool(
        config.model_type in SUPPORTED_MODEL_TYPES
        and config.hidden_act == "silu"
        and config.rope_parameters["rope_type"] in SUPPORTED_ROPE_TYPES
        and config.rope_parameters.get("partial_rotary_factor", 1) == 1
        and not getattr(config, "mlp_bias", False)
        and getattr(config, "sliding_window", None) is None
    )


class _MergedLinear:
    """Several linear layers with the same input as one: stacked weights, block-diagonal LoRA B."""

    def __init__(self, modules: list[Any]) -> None:
        self._modules = modules
        layers = [get_base_layer(module) for module in modules]
        adapted = [module for module in modules if has_adapter(module)]
        self.weight = torch.cat([layer.weight for layer in layers])
        self.bias = _merge_biases(layers)
        self._is_adapted = bool(adapted)
        self._scaling = float(adapted[0].scaling["default"]) if adapted else 0.0
        self._dropout = read_dropout(adapted[0]) if adapted else 0.0
        # The model's own weights become views of the merged one: no memory is duplicated.
        views = self.weight.split([layer.out_features for layer in layers])
        for layer, view in zip(layers, views, strict=True):
            layer.weight.data = view

    def __call__(self, x: Tensor) -> Tensor:
        # Of another dtype only where a model computes in float32.
        weight = self.weight.to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if not self._is_adapted:
            return functional.linear(x, weight, bias)
        a, b = self._merge_adapters()
        a, b = a.to(x.dtype), b.to(x.dtype)
        # As in PEFT, the adapter's input is dropped, not the base layer's; never in evaluation.
        if self._dropout and torch.is_grad_enabled():
            delta = functional.dropout(x, self._dropout) @ a.T @ b.T
            return functional.linear(x, weight, bias) + delta * self._scaling
        return lora_linear(x, weight, bias, a, b, self._scaling)

    def _merge_adapters(self) -> tuple[Tensor, Tensor]:
        """Stack the A's, and put the B's on a block diagonal; layers without adapter add zeros."""
        a = [module.lora_A["default"].weight for module in self._modules if has_adapter(module)]
        b = [
            module.lora_B["default"].weight
            if has_adapter(module)
            else self.weight.new_zeros(module.out_features, 0, dtype=torch.float32)
            for module in self._modules
        ]
        return torch.cat(a), torch.block_diag(*b)


def _merge_biases(layers: list[Any]) -> Tensor | None:
    if layers[0].bias is None:
        return None
    return torch.cat([layer.bias for layer in layers])


class _DecoderLayer:
    """Weights and forward pass of one decoder layer."""

    def __init__(self, layer: Any, shape: AttentionShape) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._shape = shape
        self._qkv = _MergedLinear([attention.q_proj, attention.k_proj, attention.v_proj])
        self._o = _MergedLinear([attention.o_proj])
        self._gate_up = _MergedLinear([mlp.gate_proj, mlp.up_proj])
        self._down = _MergedLinear([mlp.down_proj])
        self._input_norm = layer.input_layernorm
        self._mlp_norm = layer.post_attention_layernorm
        self._q_norm = getattr(attention, "q_norm", None)
        self._k_norm = getattr(attention, "k_norm", None)

    @property
    def largest_weight(self) -> int:
        """The numbers of the largest of the layer's matrices."""
        linears = (self._qkv, self._o, self._gate_up, self._down)
        return max(linear.weight.numel() for linear in linears)

    def __call__(self, hidden: Tensor, batch: MicroBatch, cos: Tensor, sin: Tensor) -> Tensor:
        qkv = self._apply_rope(self._qkv(_apply_norm(hidden, self._input_norm)), cos, sin)
        hidden = hidden + self._o(varlen_attention(qkv, batch, self._shape))
        gate_up = self._gate_up(_apply_norm(hidden, self._mlp_norm))
        return hidden + self._down(swiglu(gate_up))

    def _apply_rope(self, qkv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        shape = self._shape
        heads = qkv.view(len(qkv), -1, shape.head_dim)
        if self._q_norm is not None:
            q, k, v = heads.split(
                [shape.num_query_heads, shape.num_kv_heads, shape.num_kv_heads], dim=1
            )
            heads = torch.cat(
                [_apply_norm(q, self._q_norm), _apply_norm(k, self._k_norm), v], dim=1
            )
        return apply_rope(heads, shape.num_query_heads + shape.num_kv_heads, cos, sin).flatten(1)


def _apply_norm(x: Tensor, norm: Any) -> Tensor:
    return rms_norm(x, norm.weight, norm.variance_epsilon)


class LlamaCausalLM:
    """Implements `forward.CausalLM` for a Llama-shaped model with an adapter."""

    def __init__(
        self, model: PeftModel, *, neftune_alpha: float = 0.0, gradient_checkpointing: bool = False
    ) -> None:
        base: Any = model.get_base_model()
        self._neftune_alpha = neftune_alpha
        self._gradient_checkpointing = gradient_checkpointing
        # Rows that share a prefix would share its noise.
        self.supports_shared_prefix = neftune_alpha == 0
        config = base.config
        head_dim = (
            getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        )
        shape = AttentionShape(config.num_attention_heads, config.num_key_value_heads, head_dim)
        self._embedding: nn.Embedding = base.model.embed_tokens
        self._dtype = self._embedding.weight.dtype
        self._rotary = base.model.rotary_emb
        self._layers = [_DecoderLayer(layer, shape) for layer in base.model.layers]
        self._norm = base.model.norm
        self._head: Tensor = base.lm_head.weight

    def use_float32(self) -> None:
        """Compute in float32; each weight is converted when it is used, so that memory suffices."""
        self._dtype = torch.float32

    def count_float32_bytes(self) -> int:
        layers = (layer.largest_weight for layer in self._layers)
        return torch.float32.itemsize * max(self._head.numel(), *layers)

    def token_nll(
        self, batch: MicroBatch, *, label_smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Compute each label's NLL [N] in float32, and "it was the argmax" [N]."""
        hidden = self._embedding(batch.ids).to(self._dtype)
        if self._neftune_alpha:
            lengths = row_lengths(batch.positions)
            hidden = add_embedding_noise(hidden, lengths, self._neftune_alpha)
        cos, sin = self._rotary(hidden, batch.positions[None])
        half = cos.shape[-1] // 2
        cos, sin = cos[0, :, None, :half], sin[0, :, None, :half]
        for layer in self._layers:
            run = partial(recompute, layer) if self._gradient_checkpointing else layer
            hidden = run(hidden, batch, cos, sin)
        return fused_linear_cross_entropy(
            _apply_norm(hidden[batch.logit_positions], self._norm),
            self._head.to(self._dtype),
            batch.labels,
            smoothing=label_smoothing,
        )
