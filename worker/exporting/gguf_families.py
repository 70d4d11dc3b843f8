"""Families of generative models in GGUF files: metadata and tensors as llama.cpp expects them."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import gguf
import torch
from torch import Tensor

from worker.exporting.errors import UnsupportedExport
from worker.exporting.gguf_rope import add_rope, get_rope_factors

# llama.cpp knows Gemma 3's largest model by its layers, and scales its attention otherwise.
GEMMA3_27B_LAYERS = 62
# Every sixth layer of Gemma 3 attends to all tokens.
GEMMA3_PATTERN = 6
GEMMA3_LOCAL_THETA = 10_000.0


class Family:
    """One architecture: how a model's config and tensors are written."""

    arch: ClassVar[gguf.MODEL_ARCH]

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def head_dim(self) -> int:
        own = getattr(self.config, "head_dim", None)
        return int(own or self.config.hidden_size // self.config.num_attention_heads)

    def check(self) -> None:
        """Raise UnsupportedExport for a variant that llama.cpp computes otherwise."""

    def add_metadata(self, writer: gguf.GGUFWriter) -> None:
        config = self.config
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(self.head_dim)
        writer.add_value_length(self.head_dim)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        self.add_rope(writer)

    def add_rope(self, writer: gguf.GGUFWriter) -> None:
        add_rope(writer, self.config.rope_parameters, self.head_dim)

    def convert(self, name: str, tensor: Tensor) -> Tensor:
        """Convert a tensor of the model, by its name in transformers."""
        return tensor

    def make_further_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Make the tensors that transformers computes from the config."""
        factors = get_rope_factors(self.config.rope_parameters, self.head_dim)
        if factors is not None:
            yield "rope_freqs.weight", factors


class Llama(Family):
    arch = gguf.MODEL_ARCH.LLAMA

    def convert(self, name: str, tensor: Tensor) -> Tensor:
        """Reorder the rows of query and key for llama.cpp's rotation of neighbouring pairs."""
        for part, heads in (
            (".q_proj.", self.config.num_attention_heads),
            (".k_proj.", self.config.num_key_value_heads),
        ):
            if part in name:
                rest = tensor.shape[1:]
                halves = tensor.reshape(heads, 2, len(tensor) // heads // 2, *rest)
                return halves.swapaxes(1, 2).reshape(tensor.shape)
        return tensor


class Qwen2(Family):
    arch = gguf.MODEL_ARCH.QWEN2


class Qwen3(Family):
    arch = gguf.MODEL_ARCH.QWEN3


class Phi3(Family):
    """Phi-3 and Phi-4-mini. llama.cpp attends to all tokens, also beyond a sliding window."""

    arch = gguf.MODEL_ARCH.PHI3

    def add_metadata(self, writer: gguf.GGUFWriter) -> None:
        super().add_metadata(writer)
        # 0 means none; without the key, llama.cpp takes the first models' own.
        writer.add_sliding_window(0)
        # llama.cpp takes the factors for long texts where its context is longer than this.
        rope = self.config.rope_parameters
        original = rope.get("original_max_position_embeddings")
        writer.add_rope_scaling_orig_ctx_len(original or self.config.max_position_embeddings)
        if rope["rope_type"] == "longrope":
            writer.add_rope_scaling_attn_factors(self._compute_attention_factor(original))

    def add_rope(self, writer: gguf.GGUFWriter) -> None:
        rope = self.config.rope_parameters
        kind = "default" if rope["rope_type"] == "longrope" else rope["rope_type"]
        dimensions = int(self.head_dim * rope.get("partial_rotary_factor", 1.0))
        add_rope(writer, {**rope, "rope_type": kind}, dimensions)

    def make_further_tensors(self) -> Iterator[tuple[str, Tensor]]:
        rope = self.config.rope_parameters
        if rope["rope_type"] == "longrope":
            for length in ("long", "short"):
                yield f"rope_factors_{length}.weight", torch.tensor(rope[f"{length}_factor"])

    def _compute_attention_factor(self, original: int) -> float:
        rope = self.config.rope_parameters
        given = rope.get("attention_factor")
        factor = rope.get("factor") or self.config.max_position_embeddings / original
        if given is not None:
            return float(given)
        return math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0


class Gemma3(Family):
    arch = gguf.MODEL_ARCH.GEMMA3

    def check(self) -> None:
        config = self.config
        expected = [
            "sliding_attention" if (number + 1) % GEMMA3_PATTERN else "full_attention"
            for number in range(config.num_hidden_layers)
        ]
        local = config.rope_parameters["sliding_attention"]
        if (
            list(config.layer_types) != expected
            or local["rope_type"] != "default"
            or local["rope_theta"] != GEMMA3_LOCAL_THETA
            or getattr(config, "attn_logit_softcapping", None)
            or getattr(config, "final_logit_softcapping", None)
        ):
            raise UnsupportedExport(
                "llama.cpp computes Gemma 3 with other layers than this model has: its pattern of "
                "sliding windows, its local frequencies or its soft-capping differ. Export the "
                "model as merged."
            )

    def add_metadata(self, writer: gguf.GGUFWriter) -> None:
        super().add_metadata(writer)
        writer.add_sliding_window(self.config.sliding_window)
        writer.add_sliding_window_pattern(GEMMA3_PATTERN)
        writer.add_rope_freq_base_swa(GEMMA3_LOCAL_THETA)

    def add_rope(self, writer: gguf.GGUFWriter) -> None:
        # That of layers with a window is part of llama.cpp.
        add_rope(writer, self.config.rope_parameters["full_attention"], self.head_dim)

    def convert(self, name: str, tensor: Tensor) -> Tensor:
        """Add the one that Gemma's norms add to their weights, which llama.cpp does not."""
        if not name.endswith("norm.weight"):
            return tensor
        weight = tensor.float() + 1
        if name.endswith("q_norm.weight"):
            # llama.cpp divides by the square root of a head's width instead.
            weight *= math.sqrt(self._attention_width / self.config.query_pre_attn_scalar)
        return weight

    def make_further_tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from ()

    @property
    def _attention_width(self) -> float:
        if self.config.num_hidden_layers == GEMMA3_27B_LAYERS:
            return float(self.config.hidden_size / self.config.num_attention_heads)
        return self.head_dim


class Gpt2(Family):
    arch = gguf.MODEL_ARCH.GPT2

    def check(self) -> None:
        config = self.config
        if (
            config.activation_function not in ("gelu_new", "gelu_pytorch_tanh")
            or not config.scale_attn_weights
            or config.scale_attn_by_inverse_layer_idx
        ):
            raise UnsupportedExport(
                "llama.cpp computes GPT-2 with GELU and scaled attention; this model has another "
                "activation or scale. Export it as merged."
            )

    def add_metadata(self, writer: gguf.GGUFWriter) -> None:
        config = self.config
        writer.add_context_length(config.n_positions)
        writer.add_embedding_length(config.n_embd)
        writer.add_block_count(config.n_layer)
        writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
        writer.add_head_count(config.n_head)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)

    def convert(self, name: str, tensor: Tensor) -> Tensor:
        """Transpose the layers that transformers writes as convolutions."""
        is_transposed = name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight"))
        return tensor.T if is_transposed else tensor

    def make_further_tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from ()


# By model type. All compute what llama.cpp computes for the architecture.
FAMILIES: Mapping[str, type[Family]] = {
    "gemma3_text": Gemma3,
    "gpt2": Gpt2,
    "llama": Llama,
    "mistral": Llama,
    "phi3": Phi3,
    "qwen2": Qwen2,
    "qwen3": Qwen3,
}
