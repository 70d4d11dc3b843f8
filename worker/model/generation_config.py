"""A base model's generation_config.json: tokens that end its answers, and sampling defaults."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GENERATION_CONFIG_FILE = "generation_config.json"


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """The part of the file that this service honours. None is a value that the file does not have.

    `eos_ids` may include tokens that begin the next turn, such as GLM's `<|user|>`.
    """

    eos_ids: tuple[int, ...] = ()
    temperature: float | None = None
    top_p: float | None = None


NO_GENERATION_CONFIG = GenerationConfig()


def read_generation_config(folder: Path) -> GenerationConfig:
    """Read a model folder's file. Values that make no sense count as missing."""
    try:
        config = json.loads((folder / GENERATION_CONFIG_FILE).read_bytes())
    except (OSError, ValueError):
        return NO_GENERATION_CONFIG
    if not isinstance(config, dict):
        return NO_GENERATION_CONFIG
    # Without sampling, the others have no meaning to transformers either.
    samples = config.get("do_sample") is True
    return GenerationConfig(
        eos_ids=_read_ids(config.get("eos_token_id")),
        temperature=_read_number(config.get("temperature"), 0.0, 2.0) if samples else None,
        top_p=_read_number(config.get("top_p"), 0.0, 1.0) if samples else None,
    )


def _read_ids(value: Any) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(id for id in values if type(id) is int and id >= 0)


def _read_number(value: Any, low: float, high: float) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and low < value <= high else None
