"""DPO attempts on the tiny model: learning, metrics, reference log-probabilities, resumption."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from app.manifests import file_sha256
from tests.worker.training.conftest import MakeRun, events, write_rows
from tests.worker.training.test_attempt import THOROUGH, adapter_bits, failure, metrics
from worker.modeling import load_adapter
from worker.run_folder import CheckpointWritten, ExitCode, RunFolder, Started
from worker.training.attempt import run_attempt
from worker.training.objectives.dpo import DpoObjective, PreferencePair

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_settings")]

LAST_STEP = 9
REFERENCE = "reference.safetensors"


def preference(number: int, *, same: bool = False) -> dict[str, Any]:
    """A preference example whose chosen answer is polite."""
    question = {"role": "user", "content": f"{number}" * (1 + number % 5)}
    chosen = {"role": "assistant", "content": f"please, {number + 1}"}
    rejected = {"role": "assistant", "content": f"it is {number + 1}"}
    return {
        "input": {"messages": [{"role": "system", "content": "Count."}, question]},
        "preferred_output": [chosen],
        "non_preferred_output": [chosen if same else rejected],
    }


@pytest.fixture
def make_preferences(make_run: MakeRun) -> MakeRun:
    """A run folder with 12 pairs to train on and 5 held out: 3 epochs of 3 steps each."""

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


def ref_logprobs(folder: RunFolder, step: int) -> torch.Tensor:
    return load_file(folder.checkpoint(step) / REFERENCE)["log_probabilities"]


class TestLearning:
    def test_the_policy_starts_indifferent_and_learns_the_preference(
        self, make_preferences: MakeRun
    ) -> None:
        thorough = {**THOROUGH, "learning_rate_multiplier": 30, "beta": 0.5}
        folder = make_preferences(hyperparameters=thorough)
        assert run_attempt(folder) == ExitCode.DONE
        first, last = metrics(folder)[0].values, metrics(folder)[-1].values
        assert first["train_loss"] == pytest.approx(math.log(2), abs=0.05), (
            "the policy equals the reference"
        )
        assert last["train_loss"] < 0.4
        assert last["train_reward_margin"] > first["train_reward_margin"] + 0.5
        assert last["full_valid_reward_accuracy"] == 1.0, (
            "the preference generalizes to other numbers"
        )
        assert last["full_valid_loss"] < 0.5
        assert "train_mean_token_accuracy" not in last

    def test_the_first_epoch_is_laid_out_as_its_reference_was(
        self, make_preferences: MakeRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """bfloat16 rounds in another way where a micro-batch has other rows; the loss shows it."""
        computed: list[tuple[bool, list[bytes]]] = []
        logprobs = DpoObjective.logprobs

        def record(self: DpoObjective, pairs: Sequence[PreferencePair]) -> torch.Tensor:
            ids = [row.ids.tobytes() for pair in pairs for row in (pair.chosen, pair.rejected)]
            computed.append((torch.is_grad_enabled(), ids))
            return logprobs(self, pairs)

        monkeypatch.setattr(DpoObjective, "logprobs", record)
        rate = {"learning_rate_multiplier": 1e-9}
        folder = make_preferences(
            hyperparameters={"n_epochs": 1, "batch_size": 4, **rate}, micro_batch=2
        )
        assert run_attempt(folder) == ExitCode.DONE
        trained = [ids for has_gradient, ids in computed if has_gradient]
        assert len(trained) == 6
        assert [ids for _, ids in computed[:6]] == trained
        for event in metrics(folder):
            assert event.values["train_loss"] == pytest.approx(math.log(2), abs=1e-4)
        assert metrics(folder)[-1].values["full_valid_loss"] == pytest.approx(math.log(2), abs=1e-4)

    def test_label_smoothing_is_conservative_dpo(self, make_preferences: MakeRun) -> None:
        chosen = {**THOROUGH, "learning_rate_multiplier": 30, "beta": 0.5}
        sharp = make_preferences("sharp", hyperparameters=chosen)
        smooth = make_preferences("smooth", hyperparameters={**chosen, "label_smoothing": 0.4})
        for folder in (sharp, smooth):
            assert run_attempt(folder) == ExitCode.DONE
        margins = [metrics(f)[-1].values["train_reward_margin"] for f in (sharp, smooth)]
        # A pair that is wrong with probability 0.4 is best told by a margin of log(0.6 / 0.4).
        assert margins[1] == pytest.approx(math.log(0.6 / 0.4), abs=0.3)
        assert margins[0] > 2 * margins[1]

    def test_beta_is_reported_and_defaults_to_the_papers(self, make_preferences: MakeRun) -> None:
        folder = make_preferences(hyperparameters={"n_epochs": 1, "batch_size": 12})
        run_attempt(folder)
        started = next(event for event in events(folder) if isinstance(event, Started))
        assert started.hyperparameters["beta"] == 0.1
        assert started.trained_tokens == metrics(folder)[-1].tokens

    def test_the_micro_batch_size_only_changes_rounding(
        self, make_preferences: MakeRun, uninterrupted: RunFolder
    ) -> None:
        folder = make_preferences("one by one", micro_batch=1)
        run_attempt(folder)
        for one, many in zip(metrics(folder), metrics(uninterrupted), strict=True):
            assert one.values["train_loss"] == pytest.approx(many.values["train_loss"], abs=0.02)


class TestRefLogprobs:
    def test_every_checkpoint_stores_the_reference_logprobs(self, uninterrupted: RunFolder) -> None:
        for step in (3, 6, LAST_STEP):
            assert torch.equal(ref_logprobs(uninterrupted, step), ref_logprobs(uninterrupted, 3))
        assert ref_logprobs(uninterrupted, 3).shape == (17, 2)
        assert (ref_logprobs(uninterrupted, 3) < 0).all()

    def test_the_reference_is_the_model_that_training_starts_from(
        self, make_preferences: MakeRun
    ) -> None:
        """A job that continues from an adapter has that adapter in its reference model."""
        first = make_preferences("first", hyperparameters={**THOROUGH, "n_epochs": 2})
        run_attempt(first)
        second = make_preferences("second")
        shutil.copytree(first.checkpoint(6), second.init_adapter)
        run_attempt(second)
        assert not torch.equal(ref_logprobs(second, 3), ref_logprobs(first, 3))
        loss = metrics(second)[0].values["train_loss"]
        assert loss == pytest.approx(math.log(2), abs=0.05)

    def test_reference_logprobs_are_not_computed_again(
        self, make_preferences: MakeRun, uninterrupted: RunFolder
    ) -> None:
        """The stored values are used as they are, or the attempts of a job would differ."""
        folder = make_preferences("elsewhere")
        shutil.copytree(uninterrupted.checkpoint(3), folder.checkpoint(3))
        run_attempt(folder)
        assert file_sha256(folder.checkpoint(LAST_STEP) / REFERENCE) == file_sha256(
            uninterrupted.checkpoint(3) / REFERENCE
        )

    def test_values_of_other_rows_are_not_continued_with(
        self, make_preferences: MakeRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("worker.training.ref_logprobs.MIN_SECONDS_TO_CHECKPOINT", -1)
        folder = make_preferences()
        assert run_attempt(folder) == ExitCode.DONE
        digests = [
            json.loads((folder.checkpoint(step) / "state.json").read_bytes())["data"]
            for step in (0, LAST_STEP)
        ]
        assert digests[0] == digests[1], "the checkpoint says which rows its values are of"

    def test_a_stop_before_the_first_chunk_writes_no_checkpoint(
        self, make_preferences: MakeRun
    ) -> None:
        folder = make_preferences()
        write_rows(folder.train_file, [preference(number) for number in range(70)])
        folder.stop_file.touch()
        assert run_attempt(folder) == ExitCode.YIELDED
        assert folder.list_checkpoint_steps() == [], "no chunk was complete"
        folder.stop_file.unlink()
        assert run_attempt(folder) == ExitCode.DONE


class TestBitExactness:
    def test_equal_jobs_give_equal_bits(
        self, make_preferences: MakeRun, uninterrupted: RunFolder
    ) -> None:
        again = make_preferences("again")
        run_attempt(again)
        assert adapter_bits(again) == adapter_bits(uninterrupted)
        assert [e.values for e in metrics(again)] == [e.values for e in metrics(uninterrupted)]

    def test_resuming_from_each_checkpoint_changes_no_bit(
        self, make_preferences: MakeRun, uninterrupted: RunFolder
    ) -> None:
        for step in (3, 6):
            folder = make_preferences(f"from {step}")
            shutil.copytree(uninterrupted.checkpoint(step), folder.checkpoint(step))
            assert run_attempt(folder) == ExitCode.DONE
            assert [event.step for event in metrics(folder)] == list(range(step + 1, LAST_STEP + 1))
            assert adapter_bits(folder) == adapter_bits(uninterrupted)
            assert file_sha256(folder.checkpoint(6) / "optimizer.safetensors") == file_sha256(
                uninterrupted.checkpoint(6) / "optimizer.safetensors"
            )


class TestFailures:
    def test_equal_outputs_are_a_user_error(self, make_preferences: MakeRun) -> None:
        folder = make_preferences()
        write_rows(folder.train_file, [preference(number, same=True) for number in range(12)])
        assert run_attempt(folder) == ExitCode.USER_ERROR
        assert failure(folder).code == "invalid_training_file"
        assert "both are the same" in failure(folder).message

    def test_a_file_of_another_format_is_a_user_error(
        self, make_preferences: MakeRun, make_run: MakeRun
    ) -> None:
        folder = make_preferences()
        shutil.copyfile(make_run("chats").train_file, folder.valid_file)
        assert run_attempt(folder) == ExitCode.USER_ERROR
        assert failure(folder).param == "validation_file"
        assert "not preference" in failure(folder).message


def test_the_adapter_is_served_like_any_other(uninterrupted: RunFolder) -> None:
    written = [event for event in events(uninterrupted) if isinstance(event, CheckpointWritten)]
    assert written[-1].servable
    checkpoint: Path = uninterrupted.checkpoint(LAST_STEP)
    assert load_adapter(checkpoint).config["base_model_name_or_path"] == "tiny"
