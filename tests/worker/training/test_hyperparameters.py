"""Each hyperparameter acts in training: a run with it differs from one without it."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from app.manifests import file_sha256
from tests.worker.training.conftest import MakeRun, chat, events, write_rows
from tests.worker.training.test_dpo import preference
from worker.model.rendering import Renderer
from worker.modeling import load_adapter
from worker.run_folder import (
    CheckpointWritten,
    ExitCode,
    Failed,
    Metrics,
    Noted,
    RunFolder,
    Started,
)
from worker.training.attempt import run_attempt

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_settings")]

SHORT = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 3.0}
LAST_STEP = 6
# Two steps so far that the model forgets what its base knows, and too few to be judged as diverged.
RUINOUS = {
    "n_epochs": 2, "batch_size": 12, "learning_rate_multiplier": 2000.0, "warmup_ratio": 0.0,
    "keep": "last",
}  # fmt: skip
# Epochs of one step, far too large: the first is the best one.
OVERFITTING = {"n_epochs": 4, "batch_size": 12, "learning_rate_multiplier": 2000.0}


def train(make_run: MakeRun, name: str = "run", *, valid: bool = False, **spec: Any) -> RunFolder:
    folder = make_run(name, **spec)
    if valid:
        write_rows(folder.valid_file, [chat(number) for number in (90, 77)])
    assert run_attempt(folder) == ExitCode.DONE
    return folder


def find(folder: RunFolder, kind: type[Any]) -> list[Any]:
    return [event for event in events(folder) if isinstance(event, kind)]


def adapter_bits(folder: RunFolder, step: int = LAST_STEP) -> str:
    return file_sha256(folder.checkpoint(step) / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def reference_bits() -> dict[str, str]:
    """Bits of the runs with no further hyperparameters, by method."""
    return {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lora_alpha", 64.0), ("lora_dropout", 0.3), ("weight_decay", 1.0), ("warmup_ratio", 0.9),
        ("lr_schedule", "linear"), ("lr_schedule", "constant"), ("max_grad_norm", 0.01),
        ("label_smoothing", 0.3), ("neftune_alpha", 20.0),
    ],
)  # fmt: skip
def test_it_changes_the_weights_and_is_reported(
    make_run: MakeRun, reference_bits: dict[str, str], name: str, value: object
) -> None:
    if not reference_bits:
        reference_bits["supervised"] = adapter_bits(
            train(make_run, "without", hyperparameters=SHORT)
        )
    folder = train(make_run, hyperparameters={**SHORT, name: value})
    assert adapter_bits(folder) != reference_bits["supervised"]
    (started,) = find(folder, Started)
    assert started.hyperparameters[name] == value
    assert started.hyperparameters["learning_rate"] > 0


def test_rank_alpha_and_targets_shape_the_adapter(make_run: MakeRun) -> None:
    chosen = {"lora_rank": 3, "lora_alpha": 7.5, "target_modules": ["v_proj", "down_proj"]}
    folder = train(make_run, hyperparameters={**SHORT, **chosen})
    adapter = load_adapter(folder.checkpoint(LAST_STEP))
    assert (adapter.config["r"], adapter.config["lora_alpha"]) == (3, 7.5)
    names = {name.split(".")[-3] for name in adapter.tensors}
    assert names == {"v_proj", "down_proj"}
    assert {t.shape[0] for n, t in adapter.tensors.items() if "lora_A" in n} == {3}
    assert all(bool(t.any()) for n, t in adapter.tensors.items() if "lora_B" in n), "all learn"
    (started,) = find(folder, Started)
    assert chosen.items() <= started.hyperparameters.items()


def test_a_job_that_continues_keeps_the_shape_of_its_adapter(make_run: MakeRun) -> None:
    first = train(
        make_run, "first", hyperparameters={**SHORT, "lora_rank": 3, "target_modules": ["q_proj"]}
    )
    second = make_run("second", hyperparameters=SHORT)
    first.checkpoint(LAST_STEP).rename(second.init_adapter)
    assert run_attempt(second) == ExitCode.DONE
    (started,) = find(second, Started)
    assert started.hyperparameters["lora_rank"] == 3
    assert started.hyperparameters["target_modules"] == ["q_proj"]


def test_a_job_that_continues_trains_the_modules_of_its_adapter_and_no_others(
    make_run: MakeRun,
) -> None:
    paths = ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"]
    chosen = {**SHORT, "target_modules": paths}
    first = train(make_run, "first", hyperparameters=chosen)
    second = make_run("second", hyperparameters=SHORT)
    first.checkpoint(LAST_STEP).rename(second.init_adapter)
    assert run_attempt(second) == ExitCode.DONE
    (started,) = find(second, Started)
    assert started.hyperparameters["target_modules"] == paths
    tensors = load_adapter(second.checkpoint(LAST_STEP)).tensors
    tuned = {name.removeprefix("base_model.model.").rpartition(".lora_")[0] for name in tensors}
    assert tuned == set(paths)


def test_an_unknown_module_fails_with_the_names_of_the_models_modules(make_run: MakeRun) -> None:
    folder = make_run(hyperparameters={**SHORT, "target_modules": ["q_proj", "qkv_proj"]})
    assert run_attempt(folder) == ExitCode.USER_ERROR
    (failed,) = find(folder, Failed)
    assert failed.param == "target_modules"
    assert "'qkv_proj'; it has down_proj, gate_proj, k_proj, o_proj, q_proj" in failed.message


@pytest.mark.parametrize("name", ["lora_dropout", "neftune_alpha"])
def test_noise_resumes_bit_for_bit(make_run: MakeRun, name: str) -> None:
    chosen = {**SHORT, name: 0.5}
    whole = train(make_run, "whole", hyperparameters=chosen)
    parts = make_run("parts", hyperparameters=chosen)
    parts.stop_file.touch()
    while (code := run_attempt(parts)) == ExitCode.YIELDED:
        if len(parts.list_checkpoint_steps()) > 2:
            parts.stop_file.unlink()
    assert code == ExitCode.DONE
    assert adapter_bits(parts) == adapter_bits(whole)


class TestPacking:
    def test_a_batch_has_sequences_of_several_rows(self, make_run: MakeRun) -> None:
        chosen = {**SHORT, "max_seq_length": 160, "batch_size": 2, "packing": True}
        folder = train(make_run, hyperparameters=chosen)
        plain = train(make_run, "plain", hyperparameters={**chosen, "packing": False})
        steps, plain_steps = (find(run, Started)[0].total_steps for run in (folder, plain))
        assert steps < plain_steps == 12
        tokens, plain_tokens = (find(run, Metrics)[-1].tokens for run in (folder, plain))
        assert tokens == plain_tokens, "no row is lost, none is repeated"

    def test_auto_passes_over_examples_as_often_as_without(self, make_run: MakeRun) -> None:
        chosen = {**SHORT, "n_epochs": "auto", "max_seq_length": 160, "batch_size": 2}
        packed = train(make_run, hyperparameters={**chosen, "packing": True})
        plain = train(make_run, "plain", hyperparameters=chosen)
        tokens, plain_tokens = (find(run, Metrics)[-1].tokens for run in (packed, plain))
        assert tokens == plain_tokens, "another number of epochs"


class TestKeep:
    def losses(self, folder: RunFolder) -> dict[int, float]:
        metrics = find(folder, Metrics)
        return {
            event.step: event.values["full_valid_loss"]
            for event in metrics
            if "full_valid_loss" in event.values
        }

    def test_the_best_epoch_becomes_the_model_by_default(self, make_run: MakeRun) -> None:
        folder = train(make_run, valid=True, hyperparameters=OVERFITTING)
        losses = self.losses(folder)
        best = min(losses, key=lambda step: losses[step])
        assert best < max(losses), "the run overfits"
        assert adapter_bits(folder, max(losses)) == adapter_bits(folder, best)
        (noted,) = (note for note in find(folder, Noted) if note.key == "kept")
        assert f"epoch {best} (step {best})" in noted.message
        final = find(folder, CheckpointWritten)[-1]
        assert final.values["full_valid_loss"] == losses[best]

    def test_last_keeps_the_last_epoch(self, make_run: MakeRun) -> None:
        folder = train(make_run, valid=True, hyperparameters={**OVERFITTING, "keep": "last"})
        losses = self.losses(folder)
        best, last = min(losses, key=lambda step: losses[step]), max(losses)
        assert adapter_bits(folder, last) != adapter_bits(folder, best)
        assert "stopped_early" not in [note.key for note in find(folder, Noted)]
        assert "kept" not in [note.key for note in find(folder, Noted)]

    def test_patience_stops_early(self, make_run: MakeRun) -> None:
        folder = train(
            make_run, valid=True, hyperparameters={**OVERFITTING, "early_stopping_patience": 2}
        )
        losses = self.losses(folder)
        best = min(losses, key=lambda step: losses[step])
        assert max(losses) == best + 2 < 4
        assert find(folder, Started)[-1].total_steps == max(losses)
        (noted,) = (note for note in find(folder, Noted) if note.key == "stopped_early")
        assert noted.message == (
            f"Training stopped early after epoch {best + 2} of 4 (step {best + 2}): "
            "full_valid_loss has not improved for early_stopping_patience = 2 epochs"
        )

    def test_an_epoch_whose_evaluation_was_interrupted_is_compared_later(
        self, make_run: MakeRun
    ) -> None:
        whole = train(make_run, "whole", valid=True, hyperparameters=OVERFITTING)
        parts = make_run("parts", hyperparameters=OVERFITTING)
        write_rows(parts.valid_file, [chat(number) for number in (90, 77)])
        parts.stop_file.touch()
        # Each attempt makes one step, and no epoch but the last is evaluated before its stop.
        while (code := run_attempt(parts)) == ExitCode.YIELDED:
            pass
        assert code == ExitCode.DONE
        assert list(self.losses(parts)) == [4]
        assert adapter_bits(parts, 4) == adapter_bits(whole, 4)

    def test_patience_that_runs_out_after_an_interruption_leaves_the_best_weights(
        self, make_run: MakeRun
    ) -> None:
        patience = {**OVERFITTING, "early_stopping_patience": 2}
        whole = train(make_run, "whole", valid=True, hyperparameters=patience)
        last = whole.list_checkpoint_steps()[0]
        assert last < 4
        parts = make_run("parts", hyperparameters=patience)
        write_rows(parts.valid_file, [chat(number) for number in (90, 77)])
        parts.stop_file.touch()
        while (code := run_attempt(parts)) == ExitCode.YIELDED:
            pass
        assert code == ExitCode.DONE
        assert parts.list_checkpoint_steps()[0] == last
        assert adapter_bits(parts, last) == adapter_bits(whole, last)
        assert find(parts, Started)[-1].total_steps == last
        assert "stopped_early" in [note.key for note in find(parts, Noted)]
        (kept,) = (note for note in find(parts, Noted) if note.key == "kept")
        assert (
            f"which was better by full_valid_loss than the last one, epoch {last}" in kept.message
        )


def test_a_run_that_began_before_best_weights_were_kept_goes_on(make_run: MakeRun) -> None:
    folder = make_run(hyperparameters=OVERFITTING)
    write_rows(folder.valid_file, [chat(number) for number in (90, 77)])
    folder.stop_file.touch()
    assert run_attempt(folder) == ExitCode.YIELDED
    checkpoint = folder.checkpoint(1)
    (checkpoint / "best.json").unlink()
    manifest = checkpoint / "manifest.json"
    entries = json.loads(manifest.read_text())
    del entries["files"]["best.json"]
    manifest.write_text(json.dumps(entries))
    folder.stop_file.unlink()
    assert run_attempt(folder) == ExitCode.DONE
    assert torch.isfinite(torch.tensor(find(folder, Metrics)[-1].values["full_valid_loss"]))


class TestLongRows:
    """12 short chats; the others have two answers, of which the second does not fit."""

    LIMIT = 160
    LONG = (4, 9)

    def rows(self) -> list[dict[str, Any]]:
        rows = [chat(number) for number in range(12)]
        for number in self.LONG:
            more = [{"role": "user", "content": "on"}, {"role": "assistant", "content": "x" * 200}]
            rows[number]["messages"] += more
        return rows

    def make(self, make_run: MakeRun, rows: list[dict[str, Any]], **chosen: object) -> RunFolder:
        folder = make_run(hyperparameters={**SHORT, "max_seq_length": self.LIMIT, **chosen})
        write_rows(folder.train_file, rows)
        return folder

    def test_answers_that_fit_are_learned_and_the_owner_is_told(self, make_run: MakeRun) -> None:
        folder = self.make(make_run, self.rows())
        assert run_attempt(folder) == ExitCode.DONE
        (started,) = find(folder, Started)
        assert started.total_steps == LAST_STEP, "no chat is lost"
        assert started.hyperparameters["long_rows"] == "truncate"
        assert started.hyperparameters["max_seq_length"] == self.LIMIT
        assert started.data_warnings[0].startswith(
            "2 of 12 examples of the training file are longer than 160 tokens, the most that a row "
            "may have: examples 5, 10. They are truncated"
        )

    def test_an_answer_is_not_learned_without_its_end(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        messages = self.rows()[4]["messages"]
        rendered = Renderer(tokenizer, self.LIMIT).render_example(messages)
        first = Renderer(tokenizer, 512).render_example(messages[:3])
        (row,), (first_row,) = rendered.rows, first.rows
        assert len(row.ids) == self.LIMIT
        assert (rendered.num_turns, rendered.num_learned, rendered.num_cut) == (2, 1, 1)
        assert (
            np.flatnonzero(row.loss_mask).tolist() == np.flatnonzero(first_row.loss_mask).tolist()
        )

    def test_an_example_of_which_no_answer_fits_is_left_out(self, make_run: MakeRun) -> None:
        rows = self.rows()
        rows[2]["messages"][2]["content"] = "y" * 300
        folder = self.make(make_run, rows, batch_size=1, n_epochs=1)
        assert run_attempt(folder) == ExitCode.DONE
        (started,) = find(folder, Started)
        assert started.total_steps == 11
        assert "examples 3, 5, 10. " in started.data_warnings[0]
        assert "1 of them are left out, since no answer fits" in started.data_warnings[0]

    def test_drop_leaves_them_out(self, make_run: MakeRun) -> None:
        folder = self.make(make_run, self.rows(), batch_size=1, n_epochs=1, long_rows="drop")
        assert run_attempt(folder) == ExitCode.DONE
        (started,) = find(folder, Started)
        assert started.total_steps == 10
        assert "examples 5, 10. They are left out" in started.data_warnings[0]
        assert "10 of 14 assistant turns" in started.data_warnings[1]

    def test_nothing_is_left_if_all_are_dropped(self, make_run: MakeRun) -> None:
        rows = [self.rows()[number] for number in self.LONG]
        folder = self.make(make_run, rows, long_rows="drop")
        assert run_attempt(folder) == ExitCode.USER_ERROR
        (failed,) = find(folder, Failed)
        assert failed.message.startswith(
            "None of the 4 assistant turns can be learned, from example 1 on. Each is in an "
            "example that is left out (it is longer than 160 tokens, and long_rows is 'drop'), has"
        )

    def test_error_fails_the_job_with_their_number_and_places(self, make_run: MakeRun) -> None:
        folder = self.make(make_run, self.rows(), long_rows="error")
        assert run_attempt(folder) == ExitCode.USER_ERROR
        (failed,) = find(folder, Failed)
        assert (failed.code, failed.param) == ("invalid_training_file", "training_file")
        assert failed.message.startswith("2 of 12 examples")
        assert "examples 5, 10. Shorten them, or use long_rows" in failed.message

    def test_a_long_completion_is_learned_up_to_the_cut(self, make_run: MakeRun) -> None:
        rows = [{"prompt": f"{n}", "completion": "z" * (300 if n == 7 else 5)} for n in range(12)]
        folder = self.make(make_run, rows)
        assert run_attempt(folder) == ExitCode.DONE
        (started,) = find(folder, Started)
        assert started.total_steps == LAST_STEP
        assert "1 of 12 examples" in started.data_warnings[0]
        assert "examples 8. They are truncated" in started.data_warnings[0]

    @pytest.mark.parametrize("policy", ["auto", "drop", "error"])
    def test_pairs_are_left_out_if_an_output_does_not_fit(
        self, make_run: MakeRun, policy: str
    ) -> None:
        rows = [preference(number) for number in range(12)]
        rows[6]["non_preferred_output"][0]["content"] = "n" * 300
        folder = make_run(
            method="dpo",
            hyperparameters={"n_epochs": 1, "batch_size": 1, "max_seq_length": self.LIMIT}
            | {"long_rows": policy},
        )
        write_rows(folder.train_file, rows)
        if policy == "error":
            assert run_attempt(folder) == ExitCode.USER_ERROR
            assert "1 of 12 examples" in find(folder, Failed)[0].message
            return
        assert run_attempt(folder) == ExitCode.DONE
        (started,) = find(folder, Started)
        assert started.total_steps == 11
        assert "examples 7. They are left out" in started.data_warnings[0]


class TestComparisonWithTheStart:
    def warnings(self, folder: RunFolder) -> list[str]:
        return [
            note.message
            for note in find(folder, Noted)
            # Others are about the losses of single steps.
            if note.is_warning and "worse than" in note.message
        ]

    @pytest.mark.parametrize("valid", [False, True])
    def test_a_model_worse_than_its_base_is_told(self, make_run: MakeRun, valid: bool) -> None:
        (warning,) = self.warnings(train(make_run, valid=valid, hyperparameters=RUINOUS))
        rows = "2 rows of the validation file" if valid else "6 rows of the training file"
        assert warning.startswith("The trained model is worse than the one that it started from")
        assert rows in warning

    def test_a_model_that_learned_is_not(self, make_run: MakeRun) -> None:
        assert not self.warnings(train(make_run, hyperparameters=SHORT))

    def test_a_resumed_run_compares_with_the_first_start(self, make_run: MakeRun) -> None:
        chosen = {name: value for name, value in RUINOUS.items() if name != "keep"}
        folder = make_run(hyperparameters=chosen)
        folder.stop_file.touch()
        assert run_attempt(folder) == ExitCode.YIELDED
        start = json.loads((folder.checkpoint(1) / "start.json").read_bytes())["loss"]
        folder.stop_file.unlink()
        assert run_attempt(folder) == ExitCode.DONE
        (warning,) = self.warnings(folder)
        assert f"was {start:.2f} before training" in warning
