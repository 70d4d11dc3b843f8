"""Models of Llama's architecture, from their files without transformers' model classes.

To import those takes as long as all else that an engine does until it is ready.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

# Values of a config that is complete: as transformers writes it, which no class has to fill in.
REQUIRED = (
    "head_dim", "hidden_act", "hidden_size", "intermediate_size", "max_position_embeddings",
    "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "rms_norm_eps",
    "tie_word_embeddings", "vocab_size",
)  # fmt: skip
HEAD = "lm_head.weight"
EMBEDDING = "model.embed_tokens.weight"


class LlamaConfig(SimpleNamespace):
    """The values of a config file."""

    def get_text_config(self) -> "LlamaConfig":
        """Return itself, as configs of transformers' models without other parts do."""
        return self


class Llama(nn.Module):
    """What engines and training read of one of transformers' models: config, weights, modules."""

    config: LlamaConfig

    @property
    def dtype(self) -> torch.dtype:
        return self.get_parameter(HEAD).dtype

    @property
    def device(self) -> torch.device:
        return self.get_parameter(HEAD).device

    def get_output_embeddings(self) -> nn.Module:
        return self.get_submodule("lm_head")


def load_llama(folder: Path, *, dtype: torch.dtype, device: torch.device) -> Llama | None:
    """Load a model, frozen; its weights stay pages of the files if these have the same dtype.

    None for a model that only transformers can read: of another architecture, even a variant, or
    with files of an earlier version.
    """
    config = json.loads((folder / "config.json").read_bytes())
    if not _is_plain(config):
        return None
    weights: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        weights |= load_file(path)
    shapes = _list_shapes(config)
    if {name: tuple(weight.shape) for name, weight in weights.items()} != shapes:
        return None
    root = Llama()
    # In the order of transformers' modules, in which the weights of adapters are drawn.
    for name in shapes:
        _add(root, name, nn.Parameter(weights[name].to(device, dtype), requires_grad=False))
    if config["tie_word_embeddings"]:
        _add(root, HEAD, root.get_parameter(EMBEDDING))
    _get_module(root, "model").add_module("rotary_emb", _RotaryEmbedding(config))
    root.config = LlamaConfig(**config)
    return root


def _is_plain(config: Mapping[str, Any]) -> bool:
    """True for a Llama without any of the features that configs of this type may have."""
    rope = config.get("rope_parameters")
    return (
        config.get("model_type") == "llama"
        and config.get("hidden_act") == "silu"
        and all(config.get(name) is not None for name in REQUIRED)
        and isinstance(rope, dict)
        and rope.keys() == {"rope_theta", "rope_type"}
        and rope["rope_type"] == "default"
        and config.get("attention_bias") is False
        and config.get("mlp_bias") is False
        and config.get("sliding_window") is None
        and "quantization_config" not in config
    )


def _list_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights that the files of a model have, by name."""
    hidden, inner, size = (
        config[name] for name in ("hidden_size", "intermediate_size", "head_dim")
    )
    heads, kv_heads = (config[f"num_{kind}_heads"] * size for kind in ("attention", "key_value"))
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
        "self_attn.q_proj": (heads, hidden),
        "self_attn.k_proj": (kv_heads, hidden),
        "self_attn.v_proj": (kv_heads, hidden),
        "self_attn.o_proj": (hidden, heads),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {
        f"model.layers.{number}.{name}.weight": shape
        for number in range(config["num_hidden_layers"])
        for name, shape in layer.items()
    }
    shapes |= {EMBEDDING: (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    return shapes if config["tie_word_embeddings"] else shapes | {HEAD: shapes[EMBEDDING]}


def _add(root: nn.Module, name: str, weight: nn.Parameter) -> None:
    """Add a weight to the module of its name; a matrix is that of a linear layer."""
    path, _, last = name.rpartition(".")
    parent_path, _, module_name = path.rpartition(".")
    module = nn.Module()
    if weight.dim() == 2 and name != EMBEDDING:
        out_features, in_features = weight.shape
        module = nn.Linear(in_features, out_features, bias=False, device="meta")
    module.register_parameter(last, weight)
    _get_module(root, parent_path).add_module(module_name, module)


def _get_module(root: nn.Module, path: str) -> nn.Module:
    """Get a module, made where it does not exist yet."""
    module = root
    for name in filter(None, path.split(".")):
        if name not in module._modules:
            module.add_module(name, nn.Module())
        module = module.get_submodule(name)
    return module


class _RotaryEmbedding(nn.Module):
    """RoPE of the default kind, in the order in which transformers computes it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        size, base = config["head_dim"], config["rope_parameters"]["rope_theta"]
        self._frequencies = 1.0 / (base ** (torch.arange(0, size, 2, dtype=torch.float) / size))

    def forward(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Compute cosines and sines [..., head_dim] of positions [...], in the dtype of `x`."""
        angles = positions[..., None].float() * self._frequencies.to(x.device)
        both = torch.cat((angles, angles), dim=-1)
        return both.cos().to(x.dtype), both.sin().to(x.dtype)
