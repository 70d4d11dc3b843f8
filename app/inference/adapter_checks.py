"""Checks of an adapter's files before an engine of another kind is asked to load it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.catalog import CatalogModel
from app.inference.adapter_folder import ADAPTER_FILES, CONFIG_FILE, DamagedAdapter
from app.inference.engine_errors import NotSupportedByEngine

# Bytes of the header of a file in safetensors' format, which is JSON behind its length.
MAX_HEADER_BYTES = 16 * 2**20
LORA_SUFFIXES = (".lora_A.weight", ".lora_B.weight")
# Where training records how the adapter's chats were rendered.
RENDERING_KEY = "luthier_rendering"
# PEFT settings that vLLM and SGLang refuse, or ignore and answer wrongly.
UNSUPPORTED_SETTINGS = {
    "lora_bias": "biases",
    "layer_replication": "replicated layers",
    "modules_to_save": "whole trained modules",
    "trainable_token_indices": "trained tokens",
    "target_parameters": "trained parameters that are no linear layer",
    "use_dora": "DoRA",
}


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """Facts about an adapter from its files. `thinking` is None if its template decides."""

    rank: int
    thinking: bool | None


def check_adapter(
    folder: Path, base: CatalogModel, *, name: str, engine: str, max_rank: int | None
) -> AdapterFacts:
    """Read an adapter's files. Raises NotSupportedByEngine, DamagedAdapter or OSError."""
    config, header = _read(folder)
    reason = _find_problem(config, header, base, max_rank)
    if reason is not None:
        raise NotSupportedByEngine(
            f"The model `{name}` cannot be served by {engine}, the engine of its base model: "
            f"{reason}",
            param="model",
        )
    return AdapterFacts(max(_ranks(config)), _read_thinking(header))


def _find_problem(
    config: Mapping[str, Any],
    header: Mapping[str, Any],
    base: CatalogModel,
    max_rank: int | None,
) -> str | None:
    if config.get("peft_type") != "LORA":
        return "its adapter is not a LoRA."
    for setting, feature in UNSUPPORTED_SETTINGS.items():
        if config.get(setting):
            return f"its adapter uses {feature}. Serve this base model with the built-in engine."
    if config.get("bias", "none") != "none":
        return "its adapter trains biases. Serve this base model with the built-in engine."
    if any(not key.endswith(LORA_SUFFIXES) for key in header if key != "__metadata__"):
        return "it has a classification head. Serve this base model with the built-in engine."
    hub = base.hub_model
    trained_on = config.get("base_model_name_or_path")
    names = {base.id, *base.aliases, None if hub is None else hub.repository, None, ""}
    if not isinstance(trained_on, str | None) or trained_on not in names:
        return f"its adapter was trained on `{trained_on}`, and the engine serves `{base.id}`."
    if not all(map(_is_rank, _ranks(config))):
        return "the ranks in its adapter_config.json are not all whole numbers."
    rank = max(_ranks(config))
    if max_rank is not None and rank > max_rank:
        return (
            f"its adapter has rank {rank}, and the engine accepts at most {max_rank}. Train with a "
            "lower lora_rank, or ask the operator to raise max_lora_rank."
        )
    return None


def _ranks(config: Mapping[str, Any]) -> list[Any]:
    """The rank, and those of single modules, which other tools may have written as they like."""
    patterns = config.get("rank_pattern") or {}
    others = patterns.values() if isinstance(patterns, dict) else [patterns]
    return [config.get("r"), *others]


def _is_rank(value: object) -> bool:
    return type(value) is int and value > 0


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the config, and the header of the weights."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_bytes())
        with (folder / ADAPTER_FILES[1]).open("rb") as weights:
            size = int.from_bytes(weights.read(8), "little")
            if size > MAX_HEADER_BYTES:
                raise ValueError("the header is too long")
            header = json.loads(weights.read(size))
    except (ValueError, RecursionError, FileNotFoundError) as error:
        raise DamagedAdapter(f"the files of {folder.name} cannot be read: {error}") from error
    if not isinstance(config, dict) or not isinstance(header, dict):
        raise DamagedAdapter(f"the files of {folder.name} are not an adapter's")
    return config, header


def _read_thinking(header: Mapping[str, Any]) -> bool | None:
    """Read whether answers may begin with reasoning, as the job's rows did."""
    metadata = header.get("__metadata__")
    saved = metadata.get(RENDERING_KEY) if isinstance(metadata, dict) else None
    try:
        thinking = json.loads(saved or "{}").get("thinking")
    except (ValueError, AttributeError, TypeError):
        return None
    return thinking if isinstance(thinking, bool) else None
