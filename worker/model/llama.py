"""Models of Llama's architecture: which ones are, and their shape; for training and serving."""

from dataclasses import dataclass
from typing import Any

from torch import nn

# Types of models whose layers are Llama's: qwen2 has biases, qwen3 norms of queries and keys.
MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")
# RoPE variants whose frequencies depend on the sequence length.
LENGTH_DEPENDENT_ROPES = ("dynamic", "longrope")

# The linear layers of a block, by the fused layer that computes them.
FUSED_LAYERS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """Sizes of a model's attention, and the epsilon of its norms."""

    heads: int
    kv_heads: int
    head_dim: int
    eps: float

    @classmethod
    def of(cls, config: Any) -> "LlamaShape":
        heads = int(config.num_attention_heads)
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        return cls(
            heads, int(config.num_key_value_heads), int(head_dim), float(config.rms_norm_eps)
        )


def unsupported_reason(model: nn.Module, context_length: int) -> str | None:
    """Return a feature of the model that is not implemented here; None if it is supported.

    The model is one of transformers or of `load_llama`, and may have an adapter by PEFT.
    """
    config: Any = model.config
    if config.model_type not in MODEL_TYPES:
        return f"the architecture {config.model_type!r}"
    if config.hidden_act != "silu":
        return f"the activation {config.hidden_act!r}"
    rope = config.rope_parameters
    if rope["rope_type"] in LENGTH_DEPENDENT_ROPES:
        return f"RoPE of the type {rope['rope_type']!r}"
    if rope.get("partial_rotary_factor", 1) != 1:
        return "RoPE of a part of each head"
    if _has_sliding_window(config, context_length):
        return "sliding windows"
    names = [name.replace(".base_layer.", ".") for name in model.state_dict()]
    unknown = {name for name in names if ".lora_" not in name} - _known_weights(config)
    return f"the weight {min(unknown)}" if unknown else None


def _has_sliding_window(config: Any, context_length: int) -> bool:
    window = getattr(config, "sliding_window", None)
    if (
        window is None
        or window >= context_length
        or not getattr(config, "use_sliding_window", True)
    ):
        return False
    return any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ["?"])


def _known_weights(config: Any) -> set[str]:
    inner = ["input_layernorm.weight", "post_attention_layernorm.weight"]
    inner += ["self_attn.q_norm.weight", "self_attn.k_norm.weight"]
    for module in (module for modules in FUSED_LAYERS.values() for module in modules):
        inner += [f"{module}.weight", f"{module}.bias"]
    names = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    layers = range(config.num_hidden_layers)
    return names | {f"model.layers.{layer}.{name}" for layer in layers for name in inner}
