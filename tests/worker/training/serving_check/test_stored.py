"""An adapter like one that the engine has computed as training did is compared by its files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.worker.training.conftest import MakeRun, chat, events, write_rows
from tests.worker.training.serving_check.conftest import SHORT, find_note, write_strong_adapter
from worker.comparison_notes import ComparisonNote
from worker.modeling import adapter_parameters, save_adapter
from worker.run_folder import ComparisonBegan, EngineCompared, ExitCode, Failed, Noted, RunFolder
from worker.training import weights
from worker.training.attempt import run_attempt
from worker.training.serving_check import check

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_settings")]


@pytest.fixture
def compared(make_run: MakeRun) -> EngineCompared:
    """The comparison of an earlier job."""
    folder = make_run("earlier", hyperparameters=SHORT)
    assert run_attempt(folder) == ExitCode.DONE
    (event,) = [event for event in events(folder) if isinstance(event, EngineCompared)]
    assert event.strength > 0
    return event


def train_after(
    compared: EngineCompared, folder: RunFolder, *, factor: float = 1.0
) -> list[type[Any]]:
    """Train where `factor` times the earlier adapter's strength was compared; list the events."""
    known = {compared.adapter_kind: factor * compared.strength}
    folder.write_spec(replace(folder.read_spec(), compared=known))
    assert run_attempt(folder) == ExitCode.DONE
    return [type(event) for event in events(folder)]


def test_an_adapter_of_a_compared_kind_needs_no_engine(
    compared: EngineCompared, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "load_model", None)
    folder = make_run(hyperparameters=SHORT)
    write_rows(folder.train_file, [chat(number) for number in range(20, 32)])
    kinds = train_after(compared, folder)
    assert ComparisonBegan not in kinds
    key, message, is_warning = find_note(folder)
    assert (key, is_warning) == (ComparisonNote.VERIFIED, False)
    assert "stored as it was trained" in message


def test_training_on_4_bit_weights_is_compared_each_time(make_run: MakeRun) -> None:
    hyperparameters = {**SHORT, "quantization": "nf4"}
    earlier = make_run("earlier", hyperparameters=hyperparameters)
    assert run_attempt(earlier) == ExitCode.DONE
    (found,) = [event for event in events(earlier) if isinstance(event, EngineCompared)]
    folder = make_run(hyperparameters=hyperparameters)
    assert EngineCompared in train_after(found, folder)
    assert "quantization" in {event.key for event in events(folder) if isinstance(event, Noted)}


def test_a_stronger_adapter_is_compared(compared: EngineCompared, make_run: MakeRun) -> None:
    folder = make_run(hyperparameters=SHORT)
    assert EngineCompared in train_after(compared, folder, factor=0.5)


def test_another_kind_of_adapter_is_compared(
    compared: EngineCompared, make_run: MakeRun, tiny_folder: Path
) -> None:
    rank = make_run("rank", hyperparameters={**SHORT, "lora_rank": 3})
    assert EngineCompared in train_after(compared, rank, factor=100)
    kernels = make_run("kernels", hyperparameters=SHORT, native_kernels=False)
    assert EngineCompared in train_after(compared, kernels, factor=100)
    base = tiny_folder / "config.json"
    base.write_text(base.read_text())
    changed = make_run("base", hyperparameters=SHORT)
    assert EngineCompared in train_after(compared, changed, factor=100)


def test_a_job_with_a_test_file_is_compared(compared: EngineCompared, make_run: MakeRun) -> None:
    """Its report has what the engine computed of this model."""
    folder = make_run(hyperparameters=SHORT)
    write_rows(folder.test_file, [chat(40)])
    assert EngineCompared in train_after(compared, folder)


@pytest.mark.parametrize("change", ["lora_A", "lora_B"])
def test_another_adapter_than_the_trained_one_fails(
    compared: EngineCompared, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    def save_changed(model: Any, *arguments: Any) -> None:
        parameters = adapter_parameters(model)
        name = next(name for name in parameters if change in name)
        trained = parameters[name].detach().clone()
        with torch.no_grad():
            parameters[name].flatten()[0] += 2**-20
            save_adapter(model, *arguments)
            parameters[name].copy_(trained)

    monkeypatch.setattr(weights, "save_adapter", save_changed)
    folder = make_run(hyperparameters=SHORT)
    write_strong_adapter(folder)
    folder.write_spec(replace(folder.read_spec(), compared={compared.adapter_kind: 1e9}))
    assert run_attempt(folder) == ExitCode.USER_ERROR
    failed = events(folder)[-1]
    assert isinstance(failed, Failed)
    assert failed.code == "served_differently"
    assert "q_proj is not the trained one" in failed.message
