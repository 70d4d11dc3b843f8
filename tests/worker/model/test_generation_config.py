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
    "nonsense": (
        {"eos_token_id": ["x", -1, True], "do_sample": True, "temperature": -1, "top_p": "a"},
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
