"""generation_config.json: which values are read, and which count as missing."""

import json
from pathlib import Path
from typing import Any

import pytest

from worker.model.generation_config import GenerationConfig, read_generation_config

READ = {
    "all ids and sampling": (
        {"eos_token_id": [7, 9], "do_sample": True, "temperature": 0.6, "top_p": 0.95},
        GenerationConfig((7, 9), 0.6, 0.95),
    ),
    "one id": ({"eos_token_id": 7}, GenerationConfig((7,))),
    "without sampling": ({"temperature": 0.6, "top_p": 0.9}, GenerationConfig()),
    "top-k and repetition": (
        {"do_sample": True, "top_k": 20, "repetition_penalty": 1.05},
        GenerationConfig(top_k=20, repetition_penalty=1.05),
    ),
    "repetition without sampling": (
        {"top_k": 20, "repetition_penalty": 1.1},
        GenerationConfig(repetition_penalty=1.1),
    ),
    "values that have no effect": (
        {"do_sample": True, "top_k": 0, "num_beams": 1, "min_p": 0.0, "length_penalty": None},
        GenerationConfig(),
    ),
    "values that are not honoured": (
        {"min_p": 0.1, "no_repeat_ngram_size": 3, "max_length": 99, "suppress_tokens": [5]},
        GenerationConfig(ignored=("min_p", "no_repeat_ngram_size", "suppress_tokens")),
    ),
    "nonsense": (
        {
            "eos_token_id": ["x", -1, True],
            "do_sample": True,
            "temperature": -1,
            "top_p": "a",
            "top_k": 2.5,
            "repetition_penalty": 0,
        },
        GenerationConfig(),
    ),
    "not an object": ([], GenerationConfig()),
}


@pytest.mark.parametrize(("content", "expected"), READ.values(), ids=READ)
def test_values(tmp_path: Path, content: Any, expected: GenerationConfig) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(content))
    assert read_generation_config(tmp_path) == expected


def test_a_missing_or_damaged_file_has_no_values(tmp_path: Path) -> None:
    assert read_generation_config(tmp_path) == GenerationConfig()
    (tmp_path / "generation_config.json").write_text("{")
    assert read_generation_config(tmp_path) == GenerationConfig()
