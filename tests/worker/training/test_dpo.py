"""Attempts at preference training on the tiny model: what is learned, measured and kept."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.worker.training.conftest import MakeRun, events, write_rows
from tests.worker.training.test_attempt import THOROUGH, adapter_bits, failure, metrics
from worker.modeling import load_adapter
from worker.rundir import CheckpointWritten, ExitCode, RunFolder, Started, file_sha256
from worker.training.attempt import run_attempt

pytestmark = pytest.mark.usefixtures("training_settings")

LAST = 9
REFERENCE = "reference.safetensors"


def preference(number: int, *, same: bool = False) -> dict[str, Any]:
    """The preferred answers are polite."""
    question = {"role": "user", "content": f"{number}" * (1 + number % 5)}
    wanted = {"role": "assistant", "content": f"please, {number + 1}"}
    other = {"role": "assistant", "content": f"it is {number + 1}"}
    return {
        "input": {"messages": [{"role": "system", "content": "Count."}, question]},
        "preferred_output": [wanted],
        "non_preferred_output": [wanted if same else other],
    }


@pytest.fixture
def make_preferences(make_run: MakeRun) -> MakeRun:
    """A run folder with 12 pairs to train on and 5 held out: 3 passes of 3 steps each."""

    def make(name: str = "run", **spec: Any) -> RunFolder:
        folder = make_run(name, **{"method": "dpo", **spec})
        write_rows(folder.train_file, [preference(number) for number in range(12)])
        write_rows(folder.valid_file, [preference(number) for number in range(20, 25)])
        return folder

    return make


@pytest.fixture
def uninterrupted(make_preferences: MakeRun) -> RunFolder:
    folder = make_preferences("uninterrupted")
    assert run_attempt(folder) == ExitCode.DONE
    return folder


def references(folder: RunFolder, step: int) -> torch.Tensor:
    return load_file(folder.checkpoint(step) / REFERENCE)["log_probabilities"]


class TestLearning:
    def test_the_start_is_indifferent_and_the_end_prefers(self, make_preferences: MakeRun) -> None:
        thorough = {**THOROUGH, "learning_rate_multiplier": 30, "beta": 0.5}
        folder = make_preferences(hyperparameters=thorough)
        assert run_attempt(folder) == ExitCode.DONE
        first, last = metrics(folder)[0].values, metrics(folder)[-1].values
        assert first["train_loss"] == pytest.approx(math.log(2), abs=0.05), "it is the reference"
        assert last["train_loss"] < 0.4
        assert last["train_reward_margin"] > first["train_reward_margin"] + 0.5
        assert last["full_valid_reward_accuracy"] == 1.0, "politeness holds for other numbers too"
        assert last["full_valid_loss"] < 0.5
        assert "train_mean_token_accuracy" not in last

    def test_beta_is_told_and_auto_is_the_papers(self, make_preferences: MakeRun) -> None:
        folder = make_preferences(hyperparameters={"n_epochs": 1, "batch_size": 12})
        run_attempt(folder)
        started = next(event for event in events(folder) if isinstance(event, Started))
        assert started.hyperparameters["beta"] == 0.1
        assert started.trained_tokens == metrics(folder)[-1].tokens

    def test_small_micro_batches_change_rounding_only(
        self, make_preferences: MakeRun, uninterrupted: RunFolder
    ) -> None:
        folder = make_preferences("one by one", micro_batch=1)
        run_attempt(folder)
        for one, many in zip(metrics(folder), metrics(uninterrupted), strict=True):
            assert one.values["train_loss"] == pytest.approx(many.values["train_loss"], abs=0.02)


class TestReference:
    def test_every_checkpoint_keeps_what_the_starting_model_said(
        self, uninterrupted: RunFolder
    ) -> None:
        for step in (3, 6, LAST):
            assert torch.equal(references(uninterrupted, step), references(uninterrupted, 3))
        assert references(uninterrupted, 3).shape == (17, 2)
        assert (references(uninterrupted, 3) < 0).all()

    def test_it_is_of_the_model_that_training_starts_from(self, make_preferences: MakeRun) -> None:
        """A tuned start refers to itself, its adapter included."""
        first = make_preferences("first", hyperparameters={**THOROUGH, "n_epochs": 2})
        run_attempt(first)
        second = make_preferences("second")
        shutil.copytree(first.checkpoint(6), second.init_adapter)
        run_attempt(second)
        assert not torch.equal(references(second, 3), references(first, 3))
        loss = metrics(second)[0].values["train_loss"]
        assert loss == pytest.approx(math.log(2), abs=0.05)

    def test_it_is_not_computed_again(
        self, make_preferences: MakeRun, uninterrupted: RunFolder
    ) -> None:
        """What a checkpoint brings is believed, or the attempts of a job would differ."""
        folder = make_preferences("elsewhere")
        shutil.copytree(uninterrupted.checkpoint(3), folder.checkpoint(3))
        run_attempt(folder)
        assert file_sha256(folder.checkpoint(LAST) / REFERENCE) == file_sha256(
            uninterrupted.checkpoint(3) / REFERENCE
        )

    def test_a_stop_in_the_middle_keeps_what_there_is(self, make_preferences: MakeRun) -> None:
        folder = make_preferences()
        write_rows(folder.train_file, [preference(number) for number in range(70)])
        folder.stop_file.touch()
        assert run_attempt(folder) == ExitCode.YIELDED
        assert folder.list_checkpoint_steps() == [], "nothing was known yet"
        folder.stop_file.unlink()
        assert run_attempt(folder) == ExitCode.DONE


class TestSameBits:
    def test_the_same_job_twice(self, make_preferences: MakeRun, uninterrupted: RunFolder) -> None:
        again = make_preferences("again")
        run_attempt(again)
        assert adapter_bits(again) == adapter_bits(uninterrupted)
        assert [e.values for e in metrics(again)] == [e.values for e in metrics(uninterrupted)]

    def test_continued_in_another_folder_from_each_checkpoint(
        self, make_preferences: MakeRun, uninterrupted: RunFolder
    ) -> None:
        for step in (3, 6):
            folder = make_preferences(f"from {step}")
            shutil.copytree(uninterrupted.checkpoint(step), folder.checkpoint(step))
            assert run_attempt(folder) == ExitCode.DONE
            assert [event.step for event in metrics(folder)] == list(range(step + 1, LAST + 1))
            assert adapter_bits(folder) == adapter_bits(uninterrupted)
            assert file_sha256(folder.checkpoint(LAST) / "optimizer.safetensors") == file_sha256(
                uninterrupted.checkpoint(LAST) / "optimizer.safetensors"
            )


class TestFailures:
    def test_outputs_that_are_all_the_same(self, make_preferences: MakeRun) -> None:
        folder = make_preferences()
        write_rows(folder.train_file, [preference(number, same=True) for number in range(12)])
        assert run_attempt(folder) == ExitCode.USER_ERROR
        assert failure(folder).code == "invalid_training_file"
        assert "both outputs are the same" in failure(folder).message

    def test_a_file_of_chats(self, make_preferences: MakeRun, make_run: MakeRun) -> None:
        folder = make_preferences()
        shutil.copyfile(make_run("chats").train_file, folder.valid_file)
        assert run_attempt(folder) == ExitCode.USER_ERROR
        assert failure(folder).param == "validation_file"
        assert "not preference" in failure(folder).message


def test_the_adapter_is_served_like_any_other(uninterrupted: RunFolder) -> None:
    written = events(uninterrupted)[-1]
    assert isinstance(written, CheckpointWritten)
    assert written.servable
    place: Path = uninterrupted.checkpoint(LAST)
    assert load_adapter(place).config["base_model_name_or_path"] == "tiny"
