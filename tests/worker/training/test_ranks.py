"""Several processes that train together, with gloo on the CPU: the result is that of one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from app.manifests import file_sha256
from tests.polling import wait_until
from tests.worker.training.conftest import MakeRun, chat, events, write_rows
from tests.worker.training.test_dpo import REFERENCE, preference
from tests.worker.training.test_hyperparameters import OVERFITTING
from tests.worker.training.test_process import has_made_a_step, is_alive
from worker.run_folder import (
    CheckpointWritten,
    ExitCode,
    Failed,
    Metrics,
    Noted,
    RunFolder,
    Started,
)
from worker.training.rank_processes import choose_code
from worker.training.ranks import ALONE, Ranks

# On any CPU in float32, in which sums of several processes differ by 1e-7 of their size.
IN_FLOAT32 = """
import sys
from pathlib import Path
import torch
torch.cpu._is_avx512_bf16_supported = torch.cpu._is_amx_tile_supported = lambda: False
from worker.training import process
process.main(Path(sys.argv[1]))
"""
TOLERANCE = 1e-6
# What depends on a preference does so on the difference of sums over the tokens of whole answers.
PREFERENCE_TOLERANCE = 1e-5
# With batches of 5, an epoch's last one has 2 rows: less than one for each of three processes.
# The rate is 4e-4: that of so small a model would turn rounding into larger steps, since Adam
# divides gradients of nearly zero by their size.
UNEVEN = {"n_epochs": 3, "batch_size": 5, "learning_rate_multiplier": 0.05}
LONG = {"n_epochs": 50, "batch_size": 4, "lora_dropout": 0.1}


# By transformers' own code, as with a base model that is divided.
OWN_CODE = """
from worker.training import llama, preloading
llama.supports = lambda model: False
preloading.load_llama = lambda folder, **options: None
"""


def start(folder: RunFolder) -> subprocess.Popen[bytes]:
    code = f"{OWN_CODE}{IN_FLOAT32}" if folder.read_spec().sharded else IN_FLOAT32
    with folder.log.open("ab") as log:
        command = [sys.executable, "-c", code, str(folder.path)]
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def train(folder: RunFolder) -> None:
    assert start(folder).wait(240) == ExitCode.DONE, folder.log.read_text()


def list_ranks(process: int) -> list[int]:
    return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))


def list_metrics(folder: RunFolder) -> list[Metrics]:
    return [event for event in events(folder) if isinstance(event, Metrics)]


def list_checkpoints(folder: RunFolder) -> list[int]:
    return [event.step for event in events(folder) if isinstance(event, CheckpointWritten)]


def assert_equal_training(one: RunFolder, several: RunFolder, tolerance: float = TOLERANCE) -> None:
    """Assert equal metrics at each step and equal weights in each checkpoint."""
    expected, actual = list_metrics(one), list_metrics(several)
    assert [event.step for event in actual] == [event.step for event in expected]
    for ours, theirs in zip(actual, expected, strict=True):
        for name, value in theirs.values.items():
            assert ours.values[name] == pytest.approx(value, rel=tolerance, abs=tolerance), name
        assert ours.tokens == theirs.tokens
    assert list_checkpoints(several) == list_checkpoints(one)
    for step in list_checkpoints(one):
        # The last checkpoint has no optimizer.
        for name in ("adapter_model.safetensors", "optimizer.safetensors"):
            if not (one.checkpoint(step) / name).exists():
                continue
            tensors = load_file(one.checkpoint(step) / name)
            for key, value in load_file(several.checkpoint(step) / name).items():
                torch.testing.assert_close(value, tensors[key], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.training
class TestEquality:
    @pytest.mark.parametrize(("processes", "packing"), [(2, False), (3, False), (2, True)])
    def test_supervised(self, make_run: MakeRun, processes: int, packing: bool) -> None:
        folders = []
        for count in (1, processes):
            hyperparameters = {**UNEVEN, "packing": packing, "max_seq_length": 128}
            folder = make_run(f"of{count}", processes=count, hyperparameters=hyperparameters)
            write_rows(folder.valid_file, [chat(number) for number in range(20, 27)])
            train(folder)
            folders.append(folder)
        assert "full_valid_loss" in list_metrics(folders[1])[-1].values
        assert_equal_training(*folders)

    def test_a_rank_without_rows_agrees_on_the_best_epoch_and_when_to_stop(
        self, make_run: MakeRun
    ) -> None:
        folders = []
        for count in (1, 2):
            hyperparameters = {**OVERFITTING, "n_epochs": 8, "early_stopping_patience": 1}
            folder = make_run(f"of{count}", processes=count, hyperparameters=hyperparameters)
            # The second rank has no row of it to evaluate.
            write_rows(folder.valid_file, [chat(90)])
            train(folder)
            folders.append(folder)
        steps = [[event.step for event in list_metrics(folder)] for folder in folders]
        assert steps[0] == steps[1]
        notes = [
            {event.key: event.message for event in events(folder) if isinstance(event, Noted)}
            for folder in folders
        ]
        for key in ("stopped_early", "kept"):
            assert notes[0][key] == notes[1][key]

    def test_dpo(self, make_run: MakeRun) -> None:
        folders = []
        for count in (1, 2):
            folder = make_run(
                f"of{count}", processes=count, method="dpo", hyperparameters={**UNEVEN, "beta": 1.0}
            )
            write_rows(folder.train_file, [preference(number) for number in range(12)])
            write_rows(folder.valid_file, [preference(number) for number in range(20, 25)])
            train(folder)
            folders.append(folder)
        assert_equal_training(*folders, PREFERENCE_TOLERANCE)
        one, two = (load_file(folder.checkpoint(9) / REFERENCE) for folder in folders)
        torch.testing.assert_close(one, two, rtol=TOLERANCE, atol=TOLERANCE)
        assert one["log_probabilities"].isfinite().all()


SHARDED = {"sharded": True, "hyperparameters": {**UNEVEN, "gradient_checkpointing": True}}


@pytest.mark.training
class TestSharding:
    @pytest.mark.parametrize("processes", [2, 3])
    def test_supervised(self, make_run: MakeRun, processes: int) -> None:
        folders = []
        for count in (1, processes):
            folder = make_run(f"of{count}", processes=count, **SHARDED)
            write_rows(folder.valid_file, [chat(number) for number in range(20, 27)])
            train(folder)
            folders.append(folder)
        assert_equal_training(*folders)
        shares = [line for line in folders[1].log.read_text().splitlines() if "own_bytes" in line]
        assert len(shares) == processes
        for line in map(json.loads, shares):
            assert line["own_bytes"] < 1.1 * line["of_bytes"] / processes

    def test_dpo(self, make_run: MakeRun) -> None:
        folders = []
        for count in (1, 2):
            folder = make_run(
                f"of{count}",
                processes=count,
                method="dpo",
                sharded=True,
                hyperparameters={**UNEVEN, "beta": 1.0},
            )
            write_rows(folder.train_file, [preference(number) for number in range(12)])
            write_rows(folder.valid_file, [preference(number) for number in range(20, 25)])
            train(folder)
            folders.append(folder)
        assert_equal_training(*folders, PREFERENCE_TOLERANCE)

    def test_a_killed_rank_ends_all_and_the_next_attempt_gives_the_same_bits(
        self, make_run: MakeRun
    ) -> None:
        hyperparameters = {**LONG, "n_epochs": 20}
        folders = [
            make_run(name, processes=2, sharded=True, hyperparameters=hyperparameters)
            for name in ("uninterrupted", "killed")
        ]
        train(folders[0])
        process = start(folders[1])
        wait_until("it has a checkpoint", lambda: len(list_checkpoints(folders[1])) > 1)
        os.kill(list_ranks(process.pid)[1], signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL, folders[1].log.read_text()
        train(folders[1])
        started = [event for event in events(folders[1]) if isinstance(event, Started)]
        assert started[1].from_step > 0
        assert hash_weights(folders[1]) == hash_weights(folders[0])

    def test_weights_in_4_bits_are_refused(self, make_run: MakeRun) -> None:
        folder = make_run(processes=2, sharded=True, hyperparameters={"quantization": "nf4"})
        assert start(folder).wait(240) == ExitCode.USER_ERROR
        (failed,) = events(folder)
        assert isinstance(failed, Failed)
        assert failed.code == "invalid_quantization"


@pytest.mark.training
class TestInterruptions:
    def test_f51_a_killed_rank_ends_all_and_the_next_attempt_gives_the_same_bits(
        self, make_run: MakeRun
    ) -> None:
        uninterrupted = make_run("uninterrupted", processes=2, hyperparameters=LONG)
        train(uninterrupted)
        folder = make_run("killed", processes=2, hyperparameters=LONG)
        process = start(folder)
        wait_until("it has a checkpoint", lambda: len(list_checkpoints(folder)) > 1)
        ranks = list_ranks(process.pid)
        assert len(ranks) == 2
        os.kill(ranks[1], signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL, folder.log.read_text()
        assert not any(map(is_alive, ranks))
        assert list_metrics(folder)[-1].step < 150
        train(folder)
        started = [event for event in events(folder) if isinstance(event, Started)]
        assert started[1].from_step > 0
        assert hash_weights(folder) == hash_weights(uninterrupted)

    def test_all_stop_at_one_step_and_continue_with_the_same_bits(self, make_run: MakeRun) -> None:
        uninterrupted = make_run("uninterrupted", processes=2, hyperparameters=LONG)
        train(uninterrupted)
        folder = make_run("stopped", processes=2, hyperparameters=LONG)
        process = start(folder)
        wait_until("it has made a step", lambda: has_made_a_step(folder))
        process.terminate()
        assert process.wait(240) == ExitCode.YIELDED, folder.log.read_text()
        last = events(folder)[-1]
        assert isinstance(last, CheckpointWritten)
        assert last.step < 150
        train(folder)
        assert hash_weights(folder) == hash_weights(uninterrupted)

    def test_the_ranks_die_with_the_process_that_waits_for_them(self, make_run: MakeRun) -> None:
        folder = make_run(processes=2, hyperparameters={**LONG, "n_epochs": 5000})
        process = start(folder)
        wait_until("it has made a step", lambda: has_made_a_step(folder))
        ranks = list_ranks(process.pid)
        process.kill()
        process.wait()
        wait_until("all are gone", lambda: not any(map(is_alive, ranks)))

    def test_an_abort_shows_the_stacks_of_all(self, make_run: MakeRun) -> None:
        folder = make_run(processes=2, hyperparameters={**LONG, "n_epochs": 5000})
        process = start(folder)
        wait_until("it has made a step", lambda: has_made_a_step(folder))
        process.send_signal(signal.SIGABRT)
        assert process.wait(60) == -signal.SIGABRT
        assert folder.log.read_text().count("Fatal Python error") == 2

    def test_an_error_is_reported_once(self, make_run: MakeRun) -> None:
        folder = make_run(processes=2, context_length=16)
        assert start(folder).wait(240) == ExitCode.USER_ERROR
        assert [type(event) for event in events(folder)] == [Failed]

    def test_other_data_is_discarded_once(self, make_run: MakeRun) -> None:
        folder = make_run(processes=2)
        train(folder)
        write_rows(folder.train_file, [chat(number) for number in range(30, 42)])
        train(folder)
        started = [event for event in events(folder) if isinstance(event, Started)]
        assert [event.has_other_data for event in started] == [False, True]


def hash_weights(folder: RunFolder) -> str:
    step = folder.list_checkpoint_steps()[0]
    return file_sha256(folder.checkpoint(step) / "adapter_model.safetensors")


class TestShares:
    @pytest.mark.parametrize("num_rows", [1, 2, 3, 8, 13])
    @pytest.mark.parametrize("count", [1, 2, 3, 8])
    def test_each_row_is_one_ranks(self, num_rows: int, count: int) -> None:
        rows = [(7 * number) % num_rows + 1 for number in range(num_rows)]
        shares = [Ranks(rank, count).select(rows, sum) for rank in range(count)]
        assert sorted(row for share in shares for row in share) == sorted(rows)
        assert shares[0], "the first always has some"

    def test_ranks_have_about_as_many_tokens(self) -> None:
        rows = [2**number for number in range(1, 5)] * 4
        totals = [sum(Ranks(rank, 4).select(rows, sum)) for rank in range(4)]
        assert max(totals) <= 1.1 * min(totals)

    def test_random_numbers_depend_on_job_step_and_rank_alone(self) -> None:
        def draw(rank: int, step: int, seed: int = 0) -> float:
            Ranks(rank, 2, seed=seed).seed_step(step)
            return float(torch.rand(()))

        numbers = [draw(0, 1), draw(1, 1), draw(0, 2), draw(0, 1, seed=1)]
        assert len(set(numbers)) == 4
        assert draw(1, 1) == numbers[1]

    def test_alone_random_numbers_are_those_of_a_checkpoint(self) -> None:
        state = torch.get_rng_state()
        ALONE.seed_step(5)
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("codes", "chosen"),
    [
        ([0, 0], 0),
        ([75, 75], 75),
        # The second was killed because it waited for the first.
        ([1, None], 1),
        ([None, -9], -9),
        # The first crashed since its connection to the second broke.
        ([1, 11], 11),
        ([1, -9], -9),
        ([10, 1, -6], 10),
        ([75, 1], 1),
        # Its model is complete.
        ([0, -9], 0),
    ],
)
def test_the_code_of_the_rank_that_failed_by_itself_is_the_attempts(
    codes: list[int | None], chosen: int
) -> None:
    assert choose_code(codes) == chosen
