"""The forward pass of Llama-shaped models over a stream of tokens, made for training LoRA.

The same mathematics as transformers with PEFT, from the same weights (a test holds them together),
without padding, with LoRA inside the linear layers, and with those that read the same input
joined: query, key and value to one product, gate and up to one.
"""

from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from worker.training.attention import AttentionShape, varlen_attention
from worker.training.batching import MicroBatch
from worker.training.lora import lora_linear
from worker.training.losses import fused_linear_cross_entropy
from worker.training.ops import apply_rope, rms_norm, swiglu

# Model types whose layers are what `_Layer` computes, norms of queries and keys included.
SUPPORTED_MODEL_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
# Rotary embeddings that do not depend on the length of the row.
SUPPORTED_ROPE_TYPES = frozenset({"default", "linear", "llama3", "yarn"})


def supports(model: PeftModel) -> bool:
    """Whether this file computes what `model` computes."""
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
    """Linear layers with one input as one: frozen weights stacked, LoRA B's block-diagonal."""

    def __init__(self, modules: list[Any]) -> None:
        self._modules = modules
        self.weight = torch.cat([module.base_layer.weight for module in modules])
        self.bias = _merge_biases(modules)
        self.scaling = float(modules[0].scaling["default"])
        # The model's own weights become views of the joined one: nothing is held twice.
        parts = self.weight.split([module.base_layer.out_features for module in modules])
        for module, part in zip(modules, parts, strict=True):
            module.base_layer.weight.data = part

    def __call__(self, x: Tensor) -> Tensor:
        a = torch.cat([module.lora_A["default"].weight for module in self._modules])
        b = torch.block_diag(*(module.lora_B["default"].weight for module in self._modules))
        return lora_linear(x, self.weight, self.bias, a.to(x.dtype), b.to(x.dtype), self.scaling)


def _merge_biases(modules: list[Any]) -> Tensor | None:
    if modules[0].base_layer.bias is None:
        return None
    return torch.cat([module.base_layer.bias for module in modules])


class _DecoderLayer:
    """One decoder layer's weights and computation."""

    def __init__(self, layer: Any, heads: AttentionShape) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._heads = heads
        self._qkv = _MergedLinear([attention.q_proj, attention.k_proj, attention.v_proj])
        self._o = _MergedLinear([attention.o_proj])
        self._gate_up = _MergedLinear([mlp.gate_proj, mlp.up_proj])
        self._down = _MergedLinear([mlp.down_proj])
        self._input_norm = layer.input_layernorm
        self._mlp_norm = layer.post_attention_layernorm
        self._q_norm = getattr(attention, "q_norm", None)
        self._k_norm = getattr(attention, "k_norm", None)

    def __call__(self, hidden: Tensor, batch: MicroBatch, cos: Tensor, sin: Tensor) -> Tensor:
        qkv = self._apply_rope(self._qkv(_apply_norm(hidden, self._input_norm)), cos, sin)
        hidden = hidden + self._o(varlen_attention(qkv, batch, self._heads))
        gate_up = self._gate_up(_apply_norm(hidden, self._mlp_norm))
        return hidden + self._down(swiglu(gate_up))

    def _apply_rope(self, qkv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        heads = self._heads
        split = qkv.view(len(qkv), -1, heads.head_dim)
        if self._q_norm is not None:
            q, k, v = split.split(
                [heads.num_query_heads, heads.num_kv_heads, heads.num_kv_heads], dim=1
            )
            split = torch.cat(
                [_apply_norm(q, self._q_norm), _apply_norm(k, self._k_norm), v], dim=1
            )
        return apply_rope(split, heads.num_query_heads + heads.num_kv_heads, cos, sin).flatten(1)


def _apply_norm(x: Tensor, norm: Any) -> Tensor:
    return rms_norm(x, norm.weight, norm.variance_epsilon)


class LlamaCausalLM:
    """A `scorers.Scorer` for a Llama-shaped model with an adapter."""

    supports_shared_prefix = True

    def __init__(self, model: PeftModel) -> None:
        base: Any = model.get_base_model()
        config = base.config
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        heads = AttentionShape(config.num_attention_heads, config.num_key_value_heads, size)
        self._embedding: nn.Embedding = base.model.embed_tokens
        self._rotary = base.model.rotary_emb
        self._layers = [_DecoderLayer(layer, heads) for layer in base.model.layers]
        self._norm = base.model.norm
        self._head: Tensor = base.lm_head.weight

    def token_nll(self, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        """Negative log-probability of each label [N] in float32, and whether it was likeliest."""
        hidden = self._embedding(batch.ids)
        cos, sin = self._rotary(hidden, batch.positions[None])
        half = cos.shape[-1] // 2
        cos, sin = cos[0, :, None, :half], sin[0, :, None, :half]
        for layer in self._layers:
            hidden = layer(hidden, batch, cos, sin)
        return fused_linear_cross_entropy(
            _apply_norm(hidden[batch.logit_positions], self._norm), self._head, batch.labels
        )
