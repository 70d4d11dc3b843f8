"""Training attempts on the tiny model: events, checkpoints, bit-exact resumption, failures."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from app.catalog import CatalogModel, ModelKind
from app.manifests import file_sha256, read_manifest
from tests.worker.training.conftest import MakeRun, chat, events, write_rows
from worker import model_cache
from worker.inference.native.build import get_kernels_folder
from worker.inference.native.library import load_kernels
from worker.model_cache import READY_FILE, get_cache_folder
from worker.modeling import load_adapter, load_base
from worker.run_folder import (
    CheckpointWritten,
    ExitCode,
    Failed,
    Metrics,
    RunFolder,
    Started,
    write_manifest,
)
from worker.training.attempt import run_attempt
from worker.training.divergence import DivergenceDetector
from worker.training.frozen_product import find_int8

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_settings")]

LAST_STEP = 9
# Enough steps for a model of random weights to learn something.
THOROUGH = {"n_epochs": 20, "batch_size": 4, "learning_rate_multiplier": 3}


def metrics(folder: RunFolder) -> list[Metrics]:
    return [event for event in events(folder) if isinstance(event, Metrics)]


def adapter_bits(folder: RunFolder, step: int = LAST_STEP) -> str:
    return file_sha256(folder.checkpoint(step) / "adapter_model.safetensors")


def failure(folder: RunFolder) -> Failed:
    (failed,) = (event for event in events(folder) if isinstance(event, Failed))
    return failed


def test_checksums_that_are_known_are_not_computed_again(
    make_run: MakeRun, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = CatalogModel(
        id="cached",
        source=f"hf:none/none@{40 * '0'}",
        kind=ModelKind.CAUSAL,
        methods=("supervised",),
        context_length=512,
    )
    cached = shutil.copytree(tiny_folder, get_cache_folder(model, tmp_path / "cache"))
    (cached / READY_FILE).write_text(model.source)
    write_manifest(cached)
    monkeypatch.setattr(model_cache, "_checksums", {})
    assert model_cache.is_cached(model, tmp_path / "cache")
    checksums = model_cache.list_checksums(cached)
    monkeypatch.setattr(model_cache, "_checksums", {})
    monkeypatch.setattr(model_cache, "file_sha256", lambda path: pytest.fail(f"{path} was read"))
    folder = make_run(model=model.to_json(), checksums=checksums)
    assert run_attempt(folder) == ExitCode.DONE


class TestEvents:
    def test_started_reports_hyperparameters_and_totals(self, make_run: MakeRun) -> None:
        folder = make_run(hyperparameters={"n_epochs": "auto", "batch_size": "auto"})
        assert run_attempt(folder) == ExitCode.DONE
        started = events(folder)[0]
        assert isinstance(started, Started)
        assert started.hyperparameters["n_epochs"] == 8, "100 // 12"
        assert started.hyperparameters["learning_rate_multiplier"] == 1.0
        assert started.total_steps == len(metrics(folder))
        assert started.from_step == 0
        assert started.trained_tokens == metrics(folder)[-1].tokens
        assert started.trained_tokens % 8 == 0

    def test_each_step_reports_loss_and_accuracy_which_improve(self, make_run: MakeRun) -> None:
        folder = make_run(hyperparameters=THOROUGH)
        run_attempt(folder)
        steps = metrics(folder)
        assert [event.step for event in steps] == list(range(1, 61))
        assert steps[-1].values["train_loss"] < steps[0].values["train_loss"] - 0.2
        first, last = (event.values["train_mean_token_accuracy"] for event in (steps[0], steps[-1]))
        assert 0 <= first < last <= 1

    def test_validation_runs_on_samples_and_fully_after_each_epoch(self, make_run: MakeRun) -> None:
        folder = make_run()
        write_rows(folder.valid_file, [chat(number) for number in (20, 21)])
        run_attempt(folder)
        full = [event.step for event in metrics(folder) if "full_valid_loss" in event.values]
        assert full == [3, 6, 9]
        last = metrics(folder)[-1].values
        assert last["valid_loss"] == pytest.approx(last["full_valid_loss"]), (
            "the sample has all rows"
        )
        assert 0 <= last["full_valid_mean_token_accuracy"] <= 1
        written = [event for event in events(folder) if isinstance(event, CheckpointWritten)]
        assert written[-1].values.items() <= last.items(), "without those of the optimizer"

    def test_the_checkpoint_of_each_epoch_is_servable(self, make_run: MakeRun) -> None:
        folder = make_run()
        run_attempt(folder)
        written = [event for event in events(folder) if isinstance(event, CheckpointWritten)]
        assert [(event.step, event.servable) for event in written] == [
            (3, True), (6, True), (9, True),
        ]  # fmt: skip
        assert folder.list_checkpoint_steps() == [9, 6, 3]


class TestCheckpoint:
    def test_the_manifest_lists_all_files_with_checksums(self, make_run: MakeRun) -> None:
        folder = make_run()
        run_attempt(folder)
        checkpoint = folder.checkpoint(6)
        entries = read_manifest((checkpoint / "manifest.json").read_bytes())
        assert set(entries) == {
            "adapter_config.json", "adapter_model.safetensors", "losses.json",
            "optimizer.safetensors", "start.json", "state.json",
        }  # fmt: skip
        for name, file in entries.items():
            assert (checkpoint / name).stat().st_size == file.bytes
            assert file_sha256(checkpoint / name) == file.sha256

    def test_the_last_one_has_no_optimizer_and_ends_a_lost_job(self, make_run: MakeRun) -> None:
        folder = make_run()
        run_attempt(folder)
        last = folder.checkpoint(LAST_STEP)
        assert "optimizer.safetensors" not in read_manifest((last / "manifest.json").read_bytes())
        again = make_run("again")
        shutil.copytree(last, again.checkpoint(LAST_STEP))
        assert run_attempt(again) == ExitCode.DONE
        assert not metrics(again), "no step is left to train"
        assert adapter_bits(again) == adapter_bits(folder)

    def test_another_one_is_not_resumed_without_its_optimizer(self, make_run: MakeRun) -> None:
        folder = make_run()
        run_attempt(folder)
        again = make_run("again")
        shutil.copytree(folder.checkpoint(6), again.checkpoint(6))
        (again.checkpoint(6) / "optimizer.safetensors").unlink()
        manifest = again.checkpoint(6) / "manifest.json"
        files = json.loads(manifest.read_bytes())["files"]
        del files["optimizer.safetensors"]
        manifest.write_text(json.dumps({"files": files}))
        with pytest.raises(FileNotFoundError):
            run_attempt(again)

    @pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
    def test_peft_loads_the_adapter(self, make_run: MakeRun, tiny_folder: Path) -> None:
        folder = make_run()
        run_attempt(folder)
        base = load_base(tiny_folder, dtype=torch.float32, device=torch.device("cpu"))
        ids = torch.tensor([[1, 50, 60]])
        plain = base(input_ids=ids).logits
        tuned = PeftModel.from_pretrained(base, str(folder.checkpoint(LAST_STEP)))(
            input_ids=ids
        ).logits
        assert not torch.allclose(plain, tuned, atol=1e-3)
        config = load_adapter(folder.checkpoint(LAST_STEP)).config
        assert config["base_model_name_or_path"] == "tiny"


class TestBitExactness:
    @pytest.fixture
    def uninterrupted(self, make_run: MakeRun) -> RunFolder:
        folder = make_run("uninterrupted")
        assert run_attempt(folder) == ExitCode.DONE
        return folder

    def test_equal_jobs_give_equal_bits(self, make_run: MakeRun, uninterrupted: RunFolder) -> None:
        again = make_run("again")
        run_attempt(again)
        assert adapter_bits(again) == adapter_bits(uninterrupted)
        assert [e.values for e in metrics(again)] == [e.values for e in metrics(uninterrupted)]

    def test_another_seed_gives_other_bits(
        self, make_run: MakeRun, uninterrupted: RunFolder
    ) -> None:
        other = make_run("other", seed=6)
        run_attempt(other)
        assert adapter_bits(other) != adapter_bits(uninterrupted)

    def test_resuming_after_each_step_changes_no_bit(
        self, make_run: MakeRun, uninterrupted: RunFolder
    ) -> None:
        folder = make_run("stopped")
        folder.stop_file.touch()
        exits = [run_attempt(folder) for _ in range(LAST_STEP)]
        assert exits == [ExitCode.YIELDED] * (LAST_STEP - 1) + [ExitCode.DONE]
        assert adapter_bits(folder) == adapter_bits(uninterrupted)
        assert file_sha256(folder.checkpoint(6) / "optimizer.safetensors") == file_sha256(
            uninterrupted.checkpoint(6) / "optimizer.safetensors"
        )
        servable = {
            e.step for e in events(folder) if isinstance(e, CheckpointWritten) and e.servable
        }
        assert servable == {3, 6, 9}, "a stop within an epoch does not end it"

    def test_resuming_with_products_in_int8_changes_no_bit(
        self, make_run: MakeRun, uninterrupted: RunFolder, tmp_path: Path, kernels_folder: Path
    ) -> None:
        if find_int8(load_kernels(kernels_folder, torch.bfloat16)) is None:
            pytest.skip("this machine has no instructions for products of bytes, or no C compiler")
        shutil.copytree(kernels_folder, get_kernels_folder(tmp_path / "cache"), dirs_exist_ok=True)
        whole, stopped = (make_run(name, int8=True) for name in ("whole", "stopped"))
        assert run_attempt(whole) == ExitCode.DONE
        assert adapter_bits(whole) != adapter_bits(uninterrupted)
        stopped.stop_file.touch()
        while run_attempt(stopped) == ExitCode.YIELDED:
            pass
        assert adapter_bits(stopped) == adapter_bits(whole)

    def test_resuming_in_another_folder_changes_no_bit(
        self, make_run: MakeRun, uninterrupted: RunFolder
    ) -> None:
        folder = make_run("elsewhere")
        shutil.copytree(uninterrupted.checkpoint(6), folder.checkpoint(6))
        assert run_attempt(folder) == ExitCode.DONE
        started = events(folder)[0]
        assert isinstance(started, Started)
        assert started.from_step == 6
        assert [event.step for event in metrics(folder)] == [7, 8, 9]
        assert adapter_bits(folder) == adapter_bits(uninterrupted)

    @pytest.mark.parametrize("damage", ["truncated", "missing", "no manifest"])
    def test_a_damaged_checkpoint_is_skipped_for_the_previous_one(
        self, make_run: MakeRun, uninterrupted: RunFolder, damage: str
    ) -> None:
        folder = make_run("damaged")
        for step in (3, 6):
            shutil.copytree(uninterrupted.checkpoint(step), folder.checkpoint(step))
        hurt = folder.checkpoint(6) / "adapter_model.safetensors"
        if damage == "truncated":
            hurt.write_bytes(hurt.read_bytes()[:-1])
        elif damage == "missing":
            hurt.unlink()
        else:
            (folder.checkpoint(6) / "manifest.json").unlink()
        assert run_attempt(folder) == ExitCode.DONE
        started = events(folder)[0]
        assert isinstance(started, Started)
        assert started.from_step == 3
        assert adapter_bits(folder) == adapter_bits(uninterrupted)

    def test_a_finished_run_does_nothing(self, uninterrupted: RunFolder) -> None:
        before = len(metrics(uninterrupted))
        assert run_attempt(uninterrupted) == ExitCode.DONE
        assert len(metrics(uninterrupted)) == before

    def test_the_micro_batch_size_only_changes_rounding(
        self, make_run: MakeRun, uninterrupted: RunFolder
    ) -> None:
        folder = make_run("one by one", micro_batch=1)
        run_attempt(folder)
        for one, many in zip(metrics(folder), metrics(uninterrupted), strict=True):
            assert one.values["train_loss"] == pytest.approx(many.values["train_loss"], rel=0.02)


class TestInitialAdapter:
    def test_training_continues_from_another_jobs_adapter(self, make_run: MakeRun) -> None:
        first = make_run("first", hyperparameters=THOROUGH)
        run_attempt(first)
        second = make_run("second")
        shutil.copytree(first.checkpoint(60), second.init_adapter)
        run_attempt(second)
        learned = metrics(first)[-1].values["train_loss"]
        assert metrics(second)[0].values["train_loss"] == pytest.approx(learned, abs=0.4)


class TestFailures:
    def test_answers_truncated_away_are_a_user_error(self, make_run: MakeRun) -> None:
        folder = make_run(context_length=16)
        assert run_attempt(folder) == ExitCode.USER_ERROR
        assert failure(folder).code == "invalid_training_file"
        assert failure(folder).param == "training_file"
        assert "a row has at most 16 tokens" in failure(folder).message

    def test_an_invalid_line_is_a_user_error(self, make_run: MakeRun) -> None:
        folder = make_run()
        with folder.train_file.open("a") as file:
            file.write('{"messages": []}\n')
        assert run_attempt(folder) == ExitCode.USER_ERROR
        assert failure(folder).code == "invalid_training_file"
        assert "13" in failure(folder).message, "the error names the example"

    def test_an_empty_validation_file_is_a_user_error(self, make_run: MakeRun) -> None:
        folder = make_run()
        folder.valid_file.write_text("\n")
        assert run_attempt(folder) == ExitCode.USER_ERROR
        assert failure(folder).param == "validation_file"

    def test_an_unknown_method_is_a_user_error(self, make_run: MakeRun) -> None:
        folder = make_run(method="prayer")
        assert run_attempt(folder) == ExitCode.USER_ERROR
        assert failure(folder).code == "invalid_method"

    def test_a_missing_base_model_is_a_user_error(
        self, make_run: MakeRun, tiny_model: object
    ) -> None:
        model = json.loads((make_run().path / "spec.json").read_bytes())["model"]
        folder = make_run("gone", model={**model, "source": "path:/nowhere"})
        assert run_attempt(folder) == ExitCode.USER_ERROR
        assert failure(folder).code == "model_unavailable"

    def test_a_nonfinite_loss_ends_the_run(self, make_run: MakeRun) -> None:
        folder = make_run(hyperparameters={"n_epochs": 3, "learning_rate_multiplier": 1e30})
        assert run_attempt(folder) == ExitCode.LOSS_NOT_FINITE
        assert failure(folder).code == "loss_not_finite"
        assert "the learning rate is too high" in failure(folder).message

    def test_divergence_ends_the_run(
        self, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        diverge = lambda _, step, loss: "is far too high" if step == 5 else None  # noqa: E731
        monkeypatch.setattr(DivergenceDetector, "update", diverge)
        folder = make_run()
        assert run_attempt(folder) == ExitCode.DIVERGED
        error = failure(folder)
        assert (error.code, error.last_good_step) == ("training_diverged", 0)
        assert "at step 5 the loss is far too high" in error.message
        assert folder.list_checkpoint_steps() == [3]

    def test_a_nonfinite_validation_loss_ends_the_run(self, make_run: MakeRun) -> None:
        """The only step makes the logits non-finite, but not the weights."""
        numbers = {"n_epochs": 1, "batch_size": 12, "learning_rate_multiplier": 1e20}
        folder = make_run(hyperparameters=numbers)
        write_rows(folder.valid_file, [chat(20)])
        assert run_attempt(folder) == ExitCode.LOSS_NOT_FINITE
        assert folder.list_checkpoint_steps() == []

    def test_nonfinite_weights_are_never_saved(self, make_run: MakeRun) -> None:
        """The only step makes them non-finite, and no loss is computed after it."""
        numbers = {"n_epochs": 1, "batch_size": 12, "learning_rate_multiplier": 1e42}
        folder = make_run(hyperparameters=numbers)
        assert run_attempt(folder) == ExitCode.LOSS_NOT_FINITE
        assert folder.list_checkpoint_steps() == []

    def test_a_full_disk_has_its_exit_code(self, make_run: MakeRun) -> None:
        folder = make_run()
        folder.events.symlink_to("/dev/full")
        assert run_attempt(folder) == ExitCode.DISK_FULL
