"""The real training process on a tiny model: bitwise results, and the cost of kills."""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from transformers import LlamaForCausalLM, set_seed

from app.settings import Settings
from tests.faults.checker import InvariantChecker
from tests.faults.measurements import Measurements
from tests.faults.node import is_alive
from tests.faults.scenario import MODEL, Scenario
from tests.worker.conftest import tiny_config, tiny_tokenizer
from worker.run_folder import RunFolder
from worker.training.checkpoint_interval import MAX_OVERHEAD, MIN_INTERVAL_SECONDS

TRAINING = (sys.executable, "-m", "worker.training")


@pytest.fixture
def models_file(tmp_path: Path) -> Path:
    """A catalog with one model of random weights."""
    folder = tmp_path / "tiny"
    set_seed(7)
    LlamaForCausalLM(tiny_config()).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    catalog = tmp_path / "models.toml"
    catalog.write_text(
        f'[[model]]\nid = "{MODEL}"\nsource = "path:{folder}"\nkind = "causal"\n'
        'methods = ["supervised"]\ncontext_length = 512\n'
    )
    return catalog


def is_training_attempt(scenario: Scenario, job: str, number: int) -> bool:
    return len(scenario.attempts(job)) == number and bool(scenario.last_step(job))


@pytest.mark.timeout(600)
def test_f02_and_f33_leave_the_trained_adapter_bitwise_equal(
    scenario: Scenario, models_file: Path
) -> None:
    """Training is killed in the middle of an epoch; later its trainer is drained."""
    settings = {"models_file": models_file, "training_command": ""}
    scenario.start("api-1", "trainer-1", "io-1", **settings)
    # Long enough to be interrupted twice, even on a fast machine.
    job = scenario.create_job(scenario.upload_file(rows=24), epochs=50)
    scenario.wait_for_step(job, 25, seconds=90)
    os.kill(scenario["trainer-1"].training_processes()[0].pid, signal.SIGKILL)
    scenario.wait_until(
        "it is at its next attempt",
        partial(is_training_without_backoff, scenario, job, 2),
        seconds=90,
    )
    scenario.wait_until("it trains again", scenario["trainer-1"].training_processes, seconds=60)
    scenario.wait_for_step(job, scenario.last_step(job) + 20, seconds=90)
    scenario["trainer-1"].terminate()
    assert scenario["trainer-1"].wait() == 0
    scenario.start("trainer-2", **settings)
    assert scenario.wait_for_jobs(job, seconds=150) == ["succeeded"]
    assert [outcome for _, outcome in scenario.attempts(job)] == ["crashed", "yielded", "done"]
    InvariantChecker(scenario, TRAINING).check()


def is_training_without_backoff(scenario: Scenario, job: str, number: int) -> bool:
    scenario.skip_backoff()
    return is_training_attempt(scenario, job, number)


@pytest.mark.timeout(600)
def test_f50_the_fork_server_is_killed(scenario: Scenario, models_file: Path) -> None:
    settings = {"models_file": models_file, "training_command": ""}
    scenario.start("api-1", "trainer-1", "io-1", **settings)
    trainer = scenario["trainer-1"]
    scenario.wait_until("it has a fork server", trainer.fork_servers, seconds=90)
    jobs = [scenario.create_job(scenario.upload_file(rows=24), epochs=50)]
    scenario.wait_for_step(jobs[0], 10, seconds=90)
    assert "--fork-server" not in trainer.training_processes()[0].cmdline()
    os.kill(trainer.fork_servers()[0].pid, signal.SIGKILL)
    jobs.append(scenario.create_job(scenario.upload_file(rows=24), epochs=2))
    assert scenario.wait_for_jobs(*jobs, seconds=150) == ["succeeded"] * 2
    for job in jobs:
        assert [outcome for _, outcome in scenario.attempts(job)] == ["done"]
    InvariantChecker(scenario, TRAINING).check()


@pytest.mark.timeout(600)
def test_f51_one_of_two_ranks_is_killed(scenario: Scenario, models_file: Path) -> None:
    """The job resumes from its checkpoint; its weights are those of two undisturbed ranks."""
    settings = {"models_file": models_file, "training_command": "", "training_processes": 2}
    scenario.start("api-1", "trainer-1", "io-1", **settings)
    job = scenario.create_job(scenario.upload_file(rows=24), epochs=50)
    scenario.wait_for_step(job, 25, seconds=90)
    attempt = scenario["trainer-1"].training_processes()[0]
    ranks = attempt.children()
    assert len(ranks) == 2
    ranks[1].kill()
    scenario.wait_until(
        "all processes of the attempt are dead", lambda: not any(map(is_alive, (attempt, *ranks)))
    )
    assert scenario.wait_for_jobs(job, seconds=150) == ["succeeded"]
    assert [outcome for _, outcome in scenario.attempts(job)] == ["crashed", "done"]
    resumed = "SELECT resumed_step FROM job_attempts WHERE job_id = :id AND attempt = 2"
    assert scenario.query_value(resumed, id=job) > 0
    InvariantChecker(scenario, TRAINING, processes=2).check()


KILL_INTERVAL_SECONDS = 600
# Expected work lost by a kill: half the interval between two checkpoints.
MEAN_LOST_SECONDS = MIN_INTERVAL_SECONDS / 2


@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", ["training", "trainer"])
def test_f07_effective_training_time_with_a_kill_every_ten_minutes(
    scenario: Scenario, models_file: Path, measurements: Measurements, victim: str
) -> None:
    """The cost of a kill is measured with production's settings and all that must be loaded; the
    effective training time with a kill every 10 minutes is computed from it.

    A killed trainer is restarted at once, as by `luthier up`.
    """
    settings = {"models_file": models_file, "training_command": "", **PRODUCTION}
    scenario.start("api-1", "trainer-1", "io-1", **settings)
    job = scenario.create_job(scenario.upload_file(rows=800), epochs=50)
    for number in range(1, 4):
        scenario.wait_until(
            "it trains", partial(is_training_attempt, scenario, job, number), seconds=90
        )
        scenario.wait_until(
            "it has made more steps", partial(is_beyond, scenario, job, 100 * number)
        )
        # As there would be in ten minutes. A job fails after three attempts without a checkpoint.
        scenario.wait_until("it has a new checkpoint", partial(has_new_checkpoint, scenario, job))
        seconds = kill_and_measure_recovery(scenario, job, victim)
        lost = (seconds + MEAN_LOST_SECONDS) / KILL_INTERVAL_SECONDS
        measurements.add(
            f"from a kill of the {victim} until the job is further than before", seconds, at_most=75
        )
        measurements.add(
            f"effective training time with a kill -9 of the {victim} every 10 minutes",
            100 * (1 - lost - MAX_OVERHEAD),
            unit="%",
            at_least=97,
            note=f"1 - (the seconds above + {MEAN_LOST_SECONDS:g} s of lost work)"
            f" / {KILL_INTERVAL_SECONDS} s - {MAX_OVERHEAD:.0%} for checkpoints",
        )
    scenario.post_job_action("cancel", job)
    InvariantChecker(scenario, TRAINING).check()


PRODUCTION = {
    name: Settings.model_fields[name].default
    for name in ("lease_seconds", "heartbeat_interval_seconds", "poll_interval_seconds")
}


def kill_and_measure_recovery(scenario: Scenario, job: str, victim: str) -> float:
    """Kill a process; the seconds until the job is further than it was before."""
    trainer = scenario["trainer-1"]
    processes = trainer.training_processes()
    began = time.monotonic()
    if victim == "trainer":
        trainer.kill()
    else:
        processes[0].kill()
    scenario.wait_until("its training process is dead", lambda: not any(map(is_alive, processes)))
    # Only now: it may have made another step until it was dead.
    before = steps_made(scenario, job)
    if victim == "trainer":
        trainer.start()
    scenario.wait_until("it continues", partial(is_beyond, scenario, job, before))
    return time.monotonic() - began


def has_new_checkpoint(scenario: Scenario, job: str) -> bool:
    """Whether it has stored a checkpoint since it was last killed, if it ever was."""
    return scenario.query_value("SELECT no_progress_attempts FROM jobs WHERE id = :id", id=job) == 0


def is_beyond(scenario: Scenario, job: str, step: int) -> bool:
    return steps_made(scenario, job) > step


def steps_made(scenario: Scenario, job: str) -> int:
    """The last step in the run folder, whether or not the trainer has reported it."""
    folder = scenario["trainer-1"].run_folder(job)
    if folder is None:
        return 0
    with suppress(FileNotFoundError):
        # Only the last records: there are thousands, and this is called repeatedly.
        for line in reversed(RunFolder(folder).events.read_bytes().splitlines(keepends=True)[-9:]):
            if line.endswith(b"\n") and json.loads(line)["kind"] == "metrics":
                return int(json.loads(line)["step"])
    return 0
