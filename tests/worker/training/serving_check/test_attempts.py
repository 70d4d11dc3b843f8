"""Attempts in whose comparison memory runs out, or that are interrupted in it: none costs a job."""

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.worker.training.conftest import MakeRun, events
from tests.worker.training.serving_check.conftest import SHORT, find_comparison, find_note
from worker.comparison_notes import ComparisonNote
from worker.host_memory import HostMemory
from worker.inference import loaded_model
from worker.model.rendering import Renderer
from worker.run_folder import (
    CheckpointWritten,
    ComparisonBegan,
    EngineCompared,
    ExitCode,
    Metrics,
    RunFolder,
)
from worker.training import comparison_building
from worker.training.attempt import run_attempt
from worker.training.objectives.supervised import SupervisedObjective
from worker.training.serving_check import check
from worker.training.serving_check.rows import MAX_ROWS
from worker.training.serving_check.trained import TrainedRows

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_settings")]


def test_an_attempt_that_ended_before_the_check_is_resumed_with_it(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's model is loaded when training's has been released."""

    class Killed(Exception):
        pass

    def kill(*_: Any) -> None:
        raise Killed

    alive: list[Callable[[], Any]] = []
    measure, load = comparison_building.measure_rows, check.load_model

    def note_model(
        folder: RunFolder, renderer: Renderer, objective: Any, *arguments: Any, **options: Any
    ) -> TrainedRows:
        alive.append(weakref.ref(objective.model._embedding))
        return measure(folder, renderer, objective, *arguments, **options)

    def require_released(*arguments: Any, **options: Any) -> loaded_model.LoadedModel:
        assert [model() for model in alive] == [None, None]
        return load(*arguments, **options)

    monkeypatch.setattr(comparison_building, "measure_rows", note_model)
    monkeypatch.setattr(check, "load_model", require_released)
    folder = make_run(hyperparameters=SHORT)
    with monkeypatch.context() as patch:
        patch.setattr(check, "check_as_served", kill)
        with pytest.raises(Killed):
            run_attempt(folder)
    num_steps = sum(isinstance(event, Metrics) for event in events(folder))
    assert run_attempt(folder) == ExitCode.DONE
    assert sum(isinstance(event, Metrics) for event in events(folder)) == num_steps == 3
    assert find_comparison(folder)["asked"] == MAX_ROWS


def test_the_beginning_is_recorded_before_memory_is_needed(make_run: MakeRun) -> None:
    folder = make_run(hyperparameters=SHORT)
    assert run_attempt(folder) == ExitCode.DONE
    kinds = [type(event) for event in events(folder)]
    assert kinds.count(ComparisonBegan) == 1
    began = kinds.index(ComparisonBegan)
    assert kinds[began - 1] is CheckpointWritten
    assert kinds.index(EngineCompared) > began


def test_after_an_attempt_that_was_lost_in_it_nothing_is_compared(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(hyperparameters=SHORT, compare_with_engine=False)
    monkeypatch.setattr(check, "load_model", None)
    assert run_attempt(folder) == ExitCode.DONE
    require_not_compared(folder, "an earlier attempt was lost in this comparison")


def test_without_memory_the_model_succeeds_unchecked(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(hyperparameters=SHORT)
    monkeypatch.setattr(check, "HostMemory", lambda: FullMemory())
    assert run_attempt(folder) == ExitCode.DONE
    require_not_compared(folder, "memory is too small for it")


class FullMemory(HostMemory):
    def available_bytes(self) -> int:
        return 1


def require_not_compared(folder: RunFolder, reason: str) -> None:
    key, message, is_warning = find_note(folder)
    assert (key, is_warning) == (ComparisonNote.NOT_COMPARED, True)
    assert reason in message
    assert not any(isinstance(event, EngineCompared) for event in events(folder))


@pytest.mark.parametrize("phase", ["training's values", "the engine", "the engine's values"])
def test_memory_that_runs_out_does_not_fail_a_trained_job(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """It would be trained again with a smaller batch."""

    def run_out(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError

    targets = {
        "training's values": "worker.training.serving_check.trained.compute_logprobs",
        "the engine": "worker.training.serving_check.check.load_model",
        "the engine's values": "worker.training.serving_check.check.compute_served_logprobs",
    }
    monkeypatch.setattr(targets[phase], run_out)
    folder = make_run(hyperparameters=SHORT)
    assert run_attempt(folder) == ExitCode.DONE
    require_not_compared(folder, "memory is too small for it")


@pytest.mark.parametrize("packing", [False, True])
def test_rows_are_measured_within_the_limits_of_a_training_step(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, packing: bool
) -> None:
    """Of an attempt whose micro-batches were halved because memory ran out."""
    sizes: list[int] = []
    measure = comparison_building.measure_rows

    def note_sizes(
        folder: RunFolder, renderer: Renderer, objective: Any, *arguments: Any, **options: Any
    ) -> TrainedRows:
        compute = SupervisedObjective.split

        def split(self: SupervisedObjective, rows: Any) -> list[Any]:
            parts = list(compute(self, rows))
            sizes.extend(map(len, parts))
            return parts

        with monkeypatch.context() as patch:
            patch.setattr(SupervisedObjective, "split", split)
            return measure(folder, renderer, objective, *arguments, **options)

    monkeypatch.setattr(comparison_building, "measure_rows", note_sizes)
    folder = make_run(hyperparameters={**SHORT, "packing": packing})
    folder.write_spec(replace(folder.read_spec(), micro_batch=1))
    assert run_attempt(folder) == ExitCode.DONE
    assert set(sizes) == {1}
    assert len(sizes) % MAX_ROWS == 0
