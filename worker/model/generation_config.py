"""A base model's generation_config.json: tokens that end its answers, and sampling defaults."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GENERATION_CONFIG_FILE = "generation_config.json"
# Of a repetition penalty; one beyond would leave no word to repeat.
MAX_PENALTY = 10.0
# Values that other engines honour and this one does not, with those that have no effect.
IGNORED: Mapping[str, Sequence[Any]] = {
    "min_p": (0, 0.0),
    "typical_p": (1, 1.0),
    "epsilon_cutoff": (0, 0.0),
    "eta_cutoff": (0, 0.0),
    "top_h": (),
    "num_beams": (1,),
    "no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1, 1.0),
    "length_penalty": (1, 1.0),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "bad_words_ids": ([],),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "sequence_bias": ({},),
    "stop_strings": ([],),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "exponential_decay_length_penalty": (),
    "guidance_scale": (1, 1.0),
    "penalty_alpha": (0, 0.0),
}


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """The part of the file that this service honours. None is a value that the file does not have.

    `eos_ids` may include tokens that begin the next turn, such as GLM's `<|user|>`.
    """

    eos_ids: tuple[int, ...] = ()
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    # Names of values that change what is generated, and are not honoured.
    ignored: tuple[str, ...] = ()


NO_GENERATION_CONFIG = GenerationConfig()


def read_generation_config(folder: Path) -> GenerationConfig:
    """Read a model folder's file. Values that make no sense count as missing."""
    try:
        config = json.loads((folder / GENERATION_CONFIG_FILE).read_bytes())
    except (OSError, ValueError):
        return NO_GENERATION_CONFIG
    if not isinstance(config, dict):
        return NO_GENERATION_CONFIG
    # Without sampling, these have no meaning to transformers either.
    sampling = config if config.get("do_sample") is True else {}
    return GenerationConfig(
        eos_ids=_read_ids(config.get("eos_token_id")),
        temperature=_read_number(sampling.get("temperature"), 0.0, 2.0),
        top_p=_read_number(sampling.get("top_p"), 0.0, 1.0),
        top_k=_read_count(sampling.get("top_k")),
        repetition_penalty=_read_number(config.get("repetition_penalty"), 0.0, MAX_PENALTY),
        ignored=tuple(name for name, neutral in IGNORED.items() if _is_set(config, name, neutral)),
    )


def _is_set(config: Mapping[str, Any], name: str, neutral: Sequence[Any]) -> bool:
    return config.get(name) is not None and config[name] not in neutral


def _read_ids(value: Any) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(id for id in values if type(id) is int and id >= 0)


def _read_count(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _read_number(value: Any, low: float, high: float) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and low < value <= high else None
