"""Encoders of BERT's architecture, from their files without transformers' model classes.

To import those takes longer than all else that training does before its first step. The weights
have the names and the order that transformers gives them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

REQUIRED = (
    "hidden_size", "intermediate_size", "layer_norm_eps", "max_position_embeddings",
    "num_attention_heads", "num_hidden_layers", "type_vocab_size", "vocab_size",
)  # fmt: skip
# Features that other values of these mean, and that files without them do not have.
PLAIN = {
    "add_cross_attention": False,
    "is_decoder": False,
    "position_embedding_type": "absolute",
    "quantization_config": None,
}
# What files have beside the weights of embeddings and layers, and no task uses.
UNUSED = ("embeddings.position_ids", "pooler.dense.bias", "pooler.dense.weight")


class Bert(nn.Module):
    """What training reads of transformers' `BertModel`: its config, weights and modules."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = SimpleNamespace(**PLAIN | dict(config))
        hidden, eps = config["hidden_size"], config["layer_norm_eps"]
        sizes = {
            "word_embeddings": config["vocab_size"],
            "position_embeddings": config["max_position_embeddings"],
            "token_type_embeddings": config["type_vocab_size"],
        }
        # Not drawn at random first.
        tables = {
            name: nn.Embedding.from_pretrained(torch.empty(size, hidden))
            for name, size in sizes.items()
        }
        self.embeddings = nn.ModuleDict({**tables, "LayerNorm": nn.LayerNorm(hidden, eps)})
        layers = (
            _make_layer(hidden, config["intermediate_size"], eps)
            for _ in range(config["num_hidden_layers"])
        )
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})

    @property
    def dtype(self) -> torch.dtype:
        return self._words.dtype

    @property
    def device(self) -> torch.device:
        return self._words.device

    @property
    def _words(self) -> torch.Tensor:
        return self.embeddings.get_parameter("word_embeddings.weight")

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings["word_embeddings"]


def load_bert(folder: Path, *, dtype: torch.dtype, device: torch.device) -> Bert | None:
    """Load a model, frozen; None for one that only transformers can read, even a variant."""
    config = json.loads((folder / "config.json").read_bytes())
    if not _is_plain(config):
        return None
    with torch.device("meta"):
        model = Bert(config)
    weights: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        weights |= load_file(path)
    for name in UNUSED:
        weights.pop(name, None)
    shapes = {name: weight.shape for name, weight in model.state_dict().items()}
    if {name: weight.shape for name, weight in weights.items()} != shapes:
        return None
    converted = {name: weight.to(device, dtype) for name, weight in weights.items()}
    model.load_state_dict(converted, assign=True)
    return model.requires_grad_(False).eval()


def _is_plain(config: Mapping[str, Any]) -> bool:
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and all(config.get(name) is not None for name in REQUIRED)
        and all(config.get(name, value) == value for name, value in PLAIN.items())
    )


def _make_layer(hidden: int, inner: int, eps: float) -> nn.Module:
    projections = {name: nn.Linear(hidden, hidden) for name in ("query", "key", "value")}
    attention = {"self": nn.ModuleDict(projections), "output": _make_output(hidden, hidden, eps)}
    return nn.ModuleDict(
        {
            "attention": nn.ModuleDict(attention),
            "intermediate": nn.ModuleDict({"dense": nn.Linear(hidden, inner)}),
            "output": _make_output(inner, hidden, eps),
        }
    )


def _make_output(inner: int, hidden: int, eps: float) -> nn.Module:
    return nn.ModuleDict(
        {"dense": nn.Linear(inner, hidden), "LayerNorm": nn.LayerNorm(hidden, eps)}
    )
