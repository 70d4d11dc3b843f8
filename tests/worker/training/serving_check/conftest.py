"""Trained jobs whose rows can be compared with an engine."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from app.catalog import CatalogModel, ModelKind
from tests.worker.training.conftest import MakeRun, chat, events, write_rows
from worker.comparison_notes import ComparisonNote
from worker.inference import loaded_model
from worker.model_sources import materialize
from worker.modeling import adapter_parameters, add_adapter, load_base, save_adapter
from worker.run_folder import EngineCompared, ExitCode, Noted, RunFolder
from worker.training import base_loading, builder, comparison_building
from worker.training.attempt import run_attempt
from worker.training.serving_check import check
from worker.training.serving_check.check import check_as_served
from worker.training.serving_check.trained import TrainedRows

SHORT = {"n_epochs": 1, "batch_size": 4}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Measured = tuple[RunFolder, TrainedRows]


def use_dtype(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    for module in (base_loading, builder, comparison_building, loaded_model, check):
        monkeypatch.setattr(module, "choose_dtype", lambda _device: dtype)


def find_comparison(folder: RunFolder) -> dict[str, Any]:
    """The report of the newest comparison."""
    return [event for event in events(folder) if isinstance(event, EngineCompared)][-1].report


def find_note(folder: RunFolder) -> tuple[ComparisonNote, str, bool]:
    """The newest note about a comparison: its key, message, and whether it is a warning."""
    keys = tuple(ComparisonNote)
    notes = [event for event in events(folder) if isinstance(event, Noted) and event.key in keys]
    return ComparisonNote(notes[-1].key), notes[-1].message, notes[-1].is_warning


@pytest.fixture(params=DTYPES)
def measured(
    request: pytest.FixtureRequest,
    make_run: MakeRun,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Measured:
    """A trained job and its rows; the engine agrees, and is not asked for the job itself."""
    use_dtype(monkeypatch, DTYPES[request.param])
    kept: list[TrainedRows] = []
    with monkeypatch.context() as patch:
        patch.setattr(check, "check_as_served", lambda _folder, trained: kept.append(trained))
        folder = make_run(hyperparameters=SHORT, model=write_decided_model(tiny_folder, tmp_path))
        write_rows(folder.valid_file, [chat(number) for number in range(3, 9)])
        write_strong_adapter(folder)
        assert run_attempt(folder) == ExitCode.DONE
    check_as_served(folder, kept[0])
    return folder, kept[0]


def write_decided_model(source: Path, path: Path) -> dict[str, Any]:
    """Write a model whose probabilities are far from equal, as those of a trained one are."""
    folder = shutil.copytree(source, path / "decided")
    base = load_base(source, dtype=torch.float32, device=torch.device("cpu"))
    base.get_input_embeddings().weight.data.mul_(8)
    base.save_pretrained(folder)
    return CatalogModel(
        "decided", f"path:{folder}", ModelKind.CAUSAL, ("supervised",), 512
    ).to_json()


def write_strong_adapter(folder: RunFolder) -> None:
    """Let the job continue from an adapter that changes every layer's output by much."""
    spec = folder.read_spec()
    base = load_base(
        materialize(CatalogModel.from_json(spec.model), Path(spec.model_cache)),
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    tuned = add_adapter(base, rank=4, alpha=8, base_model=spec.base_model, seed=1)
    for name, parameter in adapter_parameters(tuned).items():
        if "lora_B" in name:
            parameter.data.normal_(std=0.5)
    folder.init_adapter.mkdir()
    save_adapter(tuned, folder.init_adapter)
