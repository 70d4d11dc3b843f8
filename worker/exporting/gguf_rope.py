"""Rotary embeddings in a GGUF file."""

import math
from collections.abc import Mapping
from typing import Any

import gguf
import torch
from torch import Tensor

from worker.exporting.errors import UnsupportedExport


def add_rope(writer: gguf.GGUFWriter, rope: Mapping[str, Any], dimensions: int) -> None:
    """Write the base frequency and scaling. Raises UnsupportedExport for unknown kinds."""
    kind = rope["rope_type"]
    writer.add_rope_dimension_count(dimensions)
    writer.add_rope_freq_base(rope["rope_theta"])
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    elif kind not in ("default", "llama3"):
        raise UnsupportedExport(f"llama.cpp does not scale rotary embeddings by {kind!r}.")


def get_rope_factors(rope: Mapping[str, Any], head_dim: int) -> Tensor | None:
    """Compute Llama 3's factors, by which each frequency is divided; None for other models."""
    if rope["rope_type"] != "llama3":
        return None
    powers = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
    wavelengths = 2 * math.pi * rope["rope_theta"] ** powers
    turns = rope["original_max_position_embeddings"] / wavelengths
    smooth = (turns - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    factors = torch.where(turns > high, torch.ones_like(between), between)
    return torch.where(turns < low, torch.full_like(between, factor), factors)
