"""Counts of a model's weights, from the headers of its files alone."""

import math
from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open

# Names of matrices outside of the layers.
OUTSIDE = ("embed", "lm_head", "pooler", "wte", "wpe")


class WeightCounts(NamedTuple):
    """All numbers of a model, and those of its layers' matrices, with the names of their modules,
    such as q_proj."""

    total: int
    in_layers: int
    matrix_names: tuple[str, ...]


def count_weights(folder: Path) -> WeightCounts:
    """Count the numbers in a folder's safetensors files."""
    total = in_layers = 0
    names: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():
                shape = tensors.get_slice(name).get_shape()
                total += math.prod(shape)
                is_inside = len(shape) == 2 and not any(part in name for part in OUTSIDE)
                if is_inside:
                    in_layers += math.prod(shape)
                    names.add(name.removesuffix(".weight").rpartition(".")[2])
    return WeightCounts(total, in_layers, tuple(sorted(names)))
