"""PEFT's adapter format: checks that an adapter can be served, and reads its LoRA matrices."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from worker.inference.lora import LoraAB
from worker.model.rendering.options import RenderingOptions
from worker.modeling import ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, load_adapter

# PEFT settings that change the computation in ways this engine does not implement.
UNSUPPORTED_SETTINGS = {
    "alpha_pattern": "alphas that differ by layer",
    "layer_replication": "replicated layers",
    "lora_bias": "biases",
    "modules_to_save": "whole trained modules",
    "rank_pattern": "ranks that differ by layer",
    "trainable_token_indices": "trained tokens",
    "target_parameters": "trained parameters that are no linear layer, such as experts",
    "use_dora": "DoRA",
}
PEFT_PREFIX = "base_model.model."

# (in_features, out_features) of each linear layer, by its path in the model.
LinearSizes = Mapping[str, tuple[int, int]]


class InvalidAdapter(ValueError):
    """The adapter cannot be served on this base model; the message is for users."""


def linear_sizes(model: nn.Module) -> LinearSizes:
    """Sizes of the model's linear layers, which an adapter must fit.

    Those of GPT-2 are `Conv1D`, whose weight is transposed; an adapter's matrices are not.
    """
    layers = {
        path: (module.in_features, module.out_features)
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear)
    }
    modules: Iterable[tuple[str, Any]] = model.named_modules()
    transposed = {
        path: (module.nx, module.nf)
        for path, module in modules
        # A class of transformers, which has been imported if there is one.
        if type(module).__name__ == "Conv1D"
    }
    return layers | transposed


def read_rendering_options(folder: Path) -> RenderingOptions:
    """Read the rendering options that an adapter was trained with. Raises OSError."""
    with safe_open(folder / ADAPTER_WEIGHTS_FILE, framework="pt") as weights:
        return RenderingOptions.from_metadata(weights.metadata())


def check_config(folder: Path) -> None:
    """Raise InvalidAdapter unless the adapter is plain LoRA."""
    try:
        config = json.loads((folder / ADAPTER_CONFIG_FILE).read_bytes())
    except ValueError as error:
        raise InvalidAdapter("The adapter's config is not JSON.") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise InvalidAdapter("The adapter's peft_type is not LORA.")
    if config.get("bias", "none") != "none":
        raise InvalidAdapter("The adapter trains biases, which this engine does not support.")
    for name, feature in UNSUPPORTED_SETTINGS.items():
        if config.get(name):
            raise InvalidAdapter(f"The adapter uses {feature}, which this engine does not support.")


def read_lora(folder: Path, sizes: LinearSizes) -> dict[str, LoraAB]:
    """Read an adapter's matrices in float32, by the path of their linear layer.

    Raises OSError if files are missing, InvalidAdapter if they do not fit the model.
    """
    try:
        adapter = load_adapter(folder)
        scaling = adapter.scaling
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InvalidAdapter(f"The adapter's files are damaged: {error}") from error
    paths = {_layer_path(name) for name in adapter.tensors}
    return {path: _read_pair(adapter.tensors, path, sizes, scaling) for path in sorted(paths)}


def _layer_path(name: str) -> str:
    for suffix in (".lora_A.weight", ".lora_B.weight"):
        if name.startswith(PEFT_PREFIX) and name.endswith(suffix):
            return name.removeprefix(PEFT_PREFIX).removesuffix(suffix)
    raise InvalidAdapter(f"The adapter contains the unknown tensor {name}.")


def _read_pair(
    tensors: Mapping[str, Tensor], path: str, sizes: LinearSizes, scaling: float
) -> LoraAB:
    if path not in sizes:
        raise InvalidAdapter(f"The adapter changes {path}, which this base model does not have.")
    a = tensors.get(f"{PEFT_PREFIX}{path}.lora_A.weight")
    b = tensors.get(f"{PEFT_PREFIX}{path}.lora_B.weight")
    if a is None or b is None:
        raise InvalidAdapter(f"The adapter lacks lora_A or lora_B of {path}.")
    in_features, out_features = sizes[path]
    if (
        a.dim() != 2
        or b.dim() != 2
        or a.shape != (len(a), in_features)
        or b.shape != (out_features, len(a))
    ):
        raise InvalidAdapter(f"The adapter's matrices do not match the size of {path}.")
    return LoraAB(a.float(), (b.float().T * scaling,))


def fuse_pairs(parts: Sequence[tuple[LoraAB | None, int]]) -> LoraAB | None:
    """Fuse the pairs of linear layers that are computed as one; each comes with its out_features.

    The A's are concatenated, the B's are the blocks of a block diagonal.
    """
    if all(pair is None for pair, _ in parts):
        return None
    blocks = [pair.b if pair else torch.zeros(0, out_features) for pair, out_features in parts]
    return LoraAB(torch.cat([pair.a for pair, _ in parts if pair]), tuple(blocks))
