"""Adapters in PEFT's format: what of it can be served, and its tensors as pairs of matrices."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from worker.inference.lora import LoraAB
from worker.modeling import ADAPTER_CONFIG_FILE, load_adapter

# Settings of PEFT that change what an adapter computes in ways this engine does not.
UNSUPPORTED_SETTINGS = {
    "alpha_pattern": "alphas that differ by layer",
    "fan_in_fan_out": "transposed weights",
    "layer_replication": "replicated layers",
    "lora_bias": "biases",
    "modules_to_save": "whole trained modules",
    "rank_pattern": "ranks that differ by layer",
    "trainable_token_indices": "trained tokens",
    "use_dora": "DoRA",
}
PEFT_PREFIX = "base_model.model."

# Inputs and outputs of each linear layer, by its path in the model.
LinearSizes = Mapping[str, tuple[int, int]]


class InvalidAdapter(ValueError):
    """The adapter cannot be served on this base model; the message is a sentence."""


def linear_sizes(model: nn.Module) -> LinearSizes:
    """What an adapter for this model must fit."""
    return {
        path: (module.in_features, module.out_features)
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear)
    }


def check_config(folder: Path) -> None:
    """Raises AdapterRefused if the adapter is of a kind that is not plain LoRA."""
    try:
        config = json.loads((folder / ADAPTER_CONFIG_FILE).read_bytes())
    except ValueError as error:
        raise InvalidAdapter("The adapter's config is not JSON.") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise InvalidAdapter("The adapter is of another type than LORA.")
    if config.get("bias", "none") != "none":
        raise InvalidAdapter("The adapter trains biases, which this engine does not serve.")
    for name, meaning in UNSUPPORTED_SETTINGS.items():
        if config.get(name):
            raise InvalidAdapter(f"The adapter uses {meaning}, which this engine does not serve.")


def read_lora(folder: Path, sizes: LinearSizes) -> dict[str, LoraAB]:
    """An adapter's matrices in float32, by the path of the linear layer they belong to.

    Raises OSError if files are missing, AdapterRefused if they do not fit the model.
    """
    try:
        adapter = load_adapter(folder)
        factor = adapter.scaling
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InvalidAdapter(f"The adapter's files are not whole: {error}") from error
    paths = {_layer_path(name) for name in adapter.tensors}
    return {path: _read_pair(adapter.tensors, path, sizes, factor) for path in sorted(paths)}


def _layer_path(name: str) -> str:
    for half in (".lora_A.weight", ".lora_B.weight"):
        if name.startswith(PEFT_PREFIX) and name.endswith(half):
            return name.removeprefix(PEFT_PREFIX).removesuffix(half)
    raise InvalidAdapter(f"The adapter holds {name}, which this engine does not know.")


def _read_pair(
    tensors: Mapping[str, Tensor], path: str, sizes: LinearSizes, factor: float
) -> LoraAB:
    if path not in sizes:
        raise InvalidAdapter(f"The adapter changes {path}, which this base model does not have.")
    a = tensors.get(f"{PEFT_PREFIX}{path}.lora_A.weight")
    b = tensors.get(f"{PEFT_PREFIX}{path}.lora_B.weight")
    if a is None or b is None:
        raise InvalidAdapter(f"The adapter has only one half of {path}.")
    inputs, outputs = sizes[path]
    if a.dim() != 2 or b.dim() != 2 or a.shape != (len(a), inputs) or b.shape != (outputs, len(a)):
        raise InvalidAdapter(f"The adapter was made for a model of another size than {path} has.")
    return LoraAB(a.float(), b.float().T * factor)


def fuse_pairs(parts: Sequence[tuple[LoraAB | None, int]]) -> LoraAB | None:
    """One pair for several linear layers that are computed as one, given with their outputs.

    The A's stand on top of each other; each B keeps to its own rows and its own outputs.
    """
    if all(pair is None for pair, _ in parts):
        return None
    bs = [pair.b if pair else torch.zeros(0, outputs) for pair, outputs in parts]
    return LoraAB(torch.cat([pair.a for pair, _ in parts if pair]), torch.block_diag(*bs))
