"""Run folders for the tiny model."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from app.catalog import CatalogModel
from worker.run_folder import Event, RunFolder, RunSpec

MakeRun = Callable[..., RunFolder]


def chat(number: int) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "system", "content": "Count."},
            {"role": "user", "content": f"{number}" * (1 + number % 5)},
            {"role": "assistant", "content": f"after it comes {number + 1}"},
        ]
    }


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def events(folder: RunFolder) -> list[Event]:
    return [event for event, _ in folder.read_events()]


@pytest.fixture
def make_run(tmp_path: Path, tiny_model: CatalogModel) -> MakeRun:
    """A run folder with 12 chats to train on: 3 epochs of 3 steps each by default."""

    def make(name: str = "run", *, context_length: int = 512, **spec: Any) -> RunFolder:
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        write_rows(folder.train_file, [chat(number) for number in range(12)])
        values: dict[str, Any] = {
            "job_id": "ftjob-1",
            "attempt": 1,
            "model": {**tiny_model.to_json(), "context_length": context_length},
            "model_cache": str(tmp_path / "cache"),
            "method": "supervised",
            "hyperparameters": {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 0.5},
            "seed": 5,
            "base_model": tiny_model.id,
            "threads": 1,
        }
        folder.write_spec(RunSpec(**values | spec))
        return folder

    return make


@pytest.fixture
def training_settings() -> Iterator[None]:
    """Restore torch's process-wide settings after a test: an attempt changes them."""
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)
