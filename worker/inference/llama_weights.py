"""Weights of Llama-shaped models, packed for serving."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from worker.inference.quantization import round_to_int8
from worker.model.llama import FUSED_LAYERS, LlamaShape


def fused_paths(layers: int) -> dict[str, list[str]]:
    """Paths of the linear layers in each fused layer, by name, e.g. `"3.qkv"`."""
    return {
        f"{layer}.{name}": [f"model.layers.{layer}.{module}" for module in modules]
        for layer in range(layers)
        for name, modules in FUSED_LAYERS.items()
    }


def concatenate(
    weights: Sequence[Tensor], biases: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor | None]:
    """Concatenate layers that share their input; zeros stand for a bias that is missing."""
    weight = torch.cat(list(weights))
    if all(bias is None for bias in biases):
        return weight, None
    parts = zip(weights, biases, strict=True)
    return weight, torch.cat([w.new_zeros(len(w)) if b is None else b for w, b in parts])


class PackedLinear:
    """x·Wᵀ + b of one or more concatenated weights, prepacked for oneDNN in bfloat16 on a CPU.

    Otherwise oneDNN reorders the weight on every call, which for few rows takes longer than the
    product: SmolLM2's projections are 1.3 to 2.3 times as fast prepacked, at 1 to 32 rows.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor | None],
        *,
        is_int8: bool = False,
    ) -> None:
        weight, self._bias = concatenate(weights, biases)
        if is_int8:
            weight = round_to_int8(weight)
        self._packed = weight.device.type == "cpu" and weight.dtype == torch.bfloat16
        if self._packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self._weight = weight

    def __call__(self, x: Tensor) -> Tensor:
        if not self._packed:
            return linear(x, self._weight, self._bias)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self._bias, "none", [], ""
        )
        return out


LinearT = TypeVar("LinearT")
# Makes a linear layer of concatenated weights and their biases.
MakeLinear = Callable[[Sequence[Tensor], Sequence[Tensor | None]], LinearT]


@dataclass(frozen=True, slots=True)
class LlamaBlock(Generic[LinearT]):
    """Weights of one transformer block. `q_norm` and `k_norm` are Qwen 3's, over each head."""

    attention_norm: Tensor
    qkv: LinearT
    q_norm: Tensor | None
    k_norm: Tensor | None
    o: LinearT
    mlp_norm: Tensor
    gate_up: LinearT
    down: LinearT


def _read_block(
    weights: Mapping[str, Tensor], layer: int, make_linear: MakeLinear[LinearT]
) -> LlamaBlock[LinearT]:
    prefix = f"model.layers.{layer}"

    def fused(name: str) -> LinearT:
        paths = [f"{prefix}.{module}" for module in FUSED_LAYERS[name]]
        return make_linear(
            [weights[f"{path}.weight"] for path in paths],
            [weights.get(f"{path}.bias") for path in paths],
        )

    def head_norm(name: str) -> Tensor | None:
        weight = weights.get(f"{prefix}.self_attn.{name}.weight")
        return None if weight is None else weight.clone()

    return LlamaBlock(
        attention_norm=weights[f"{prefix}.input_layernorm.weight"].clone(),
        qkv=fused("qkv"),
        q_norm=head_norm("q_norm"),
        k_norm=head_norm("k_norm"),
        o=fused("o"),
        mlp_norm=weights[f"{prefix}.post_attention_layernorm.weight"].clone(),
        gate_up=fused("gate_up"),
        down=fused("down"),
    )


class LlamaModel:
    """The weights of a model of transformers, or of `load_llama`.

    What is not packed is copied: a view would keep the whole file mapped, and so in memory.
    """

    def __init__(self, model: nn.Module, *, context_length: int) -> None:
        config: Any = model.config
        self.shape = LlamaShape.of(config)
        self.context_length = context_length
        self.num_layers = int(config.num_hidden_layers)
        self._weights = model.state_dict()
        self._rotary = model.get_submodule("model.rotary_emb")
        self._embedding: Tensor = self._weights["model.embed_tokens.weight"]
        self.norm = self._weights["model.norm.weight"].clone()
        self.head: Tensor = self._weights["lm_head.weight"]

    @property
    def is_tied(self) -> bool:
        """True if the head's weights are the embedding's."""
        return self.head.data_ptr() == self._embedding.data_ptr()

    def copy_embedding(self) -> Tensor:
        """Copy the embedding, [vocabulary, hidden size]."""
        return self._embedding.clone()

    def read_blocks(self, make_linear: MakeLinear[LinearT]) -> list[LlamaBlock[LinearT]]:
        layers = range(self.num_layers)
        return [_read_block(self._weights, layer, make_linear) for layer in layers]

    def rope_tables(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Compute RoPE cosines and sines of every position, [positions, 1, head dim].

        Computed by transformers, which covers every RoPE variant, in the dtype of `like`. The first
        half of the sines is negated, so that a rotation is x·cos + swap_halves(x)·sin.
        """
        position_ids = torch.arange(self.context_length, device=self.norm.device)[None]
        cos, sin = self._rotary(like, position_ids)
        half = self.shape.head_dim // 2
        sin = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)
        return cos[0][:, None].clone(), sin[0][:, None].clone()
