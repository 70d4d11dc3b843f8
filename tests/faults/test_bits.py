"""Our own training, on a model of a few thousand weights: what it ends with, what kills cost."""

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
from tests.faults.checker import Checker
from tests.faults.measurements import Figures
from tests.faults.scenario import MODEL, World, alive
from tests.worker.conftest import tiny_config, tiny_tokenizer
from worker.rundir import RunFolder
from worker.training.checkpoint_interval import MAX_OVERHEAD, MIN_INTERVAL_SECONDS

TRAINING = (sys.executable, "-m", "worker.training")


@pytest.fixture
def models_file(tmp_path: Path) -> Path:
    """A catalogue whose model is made here, of random weights."""
    folder = tmp_path / "tiny"
    set_seed(7)
    LlamaForCausalLM(tiny_config()).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    catalogue = tmp_path / "models.toml"
    catalogue.write_text(
        f'[[model]]\nid = "{MODEL}"\nsource = "path:{folder}"\nkind = "causal"\n'
        'methods = ["supervised"]\ncontext_length = 512\n'
    )
    return catalogue


def is_attempt(world: World, job: str, number: int) -> bool:
    return len(world.attempts(job)) == number and bool(world.step(job))


@pytest.mark.timeout(600)
def test_f02_and_f33_leave_the_bits_of_a_trained_adapter_as_they_would_have_been(
    world: World, models_file: Path
) -> None:
    """Training is killed in the middle of a pass; then the trainer that took it up is drained."""
    real = {"models_file": models_file, "training_command": ""}
    world.start("api-1", "trainer-1", "io-1", **real)
    # Long enough to be met twice on the way, on a machine that does nothing else too.
    job = world.create(world.upload(rows=24), passes=50)
    world.reaches(job, 25, seconds=90)
    os.kill(world["trainer-1"].trainings()[0].pid, signal.SIGKILL)
    world.until("it is tried again", partial(hurried, world, job, 2), seconds=90)
    world.until("it trains again", world["trainer-1"].trainings, seconds=60)
    world.reaches(job, world.step(job) + 20, seconds=90)
    world["trainer-1"].terminate()
    assert world["trainer-1"].end() == 0
    world.start("trainer-2", **real)
    assert world.finish(job, seconds=150) == ["succeeded"]
    assert [outcome for _, outcome in world.attempts(job)] == ["crashed", "yielded", "done"]
    Checker(world, TRAINING).check()


def hurried(world: World, job: str, number: int) -> bool:
    world.hurry()
    return is_attempt(world, job, number)


KILLED_EVERY_SECONDS = 600
# What each test measures is the worst that is likely: the rest is the cadence of checkpoints.
BETWEEN_CHECKPOINTS = MIN_INTERVAL_SECONDS / 2


@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", ["training", "trainer"])
def test_f07_effective_training_time_with_a_kill_every_ten_minutes(
    world: World, models_file: Path, figures: Figures, victim: str
) -> None:
    """What a kill costs is measured, with the times of production and all that has to be loaded;
    what a kill each 10 minutes leaves of the time is calculated.

    A trainer that is killed is started again at once, as `luthier up` does.
    """
    real = {"models_file": models_file, "training_command": "", **PRODUCTION}
    world.start("api-1", "trainer-1", "io-1", **real)
    job = world.create(world.upload(rows=800), passes=50)
    for number in range(1, 4):
        world.until("it trains", partial(is_attempt, world, job, number), seconds=90)
        world.until("it is further", partial(is_beyond, world, job, 100 * number))
        # In ten minutes there would be a checkpoint. Three kills without one are a job that kills.
        world.until("it has a new checkpoint", partial(has_progress, world, job))
        seconds = seconds_lost(world, job, victim)
        lost = (seconds + BETWEEN_CHECKPOINTS) / KILLED_EVERY_SECONDS
        figures.add(f"until a killed {victim} is further than it was", seconds, at_most=75)
        figures.add(
            f"effective training time with a kill -9 of the {victim} every 10 minutes",
            100 * (1 - lost - MAX_OVERHEAD),
            unit="%",
            at_least=97,
            how=f"1 - (the seconds above + {BETWEEN_CHECKPOINTS:g} s of lost work)"
            f" / {KILLED_EVERY_SECONDS} s - {MAX_OVERHEAD:.0%} for checkpoints",
        )
    world.act("cancel", job)
    Checker(world, TRAINING).check()


PRODUCTION = {
    name: Settings.model_fields[name].default
    for name in ("lease_seconds", "heartbeat_interval_seconds", "poll_interval_seconds")
}


def seconds_lost(world: World, job: str, victim: str) -> float:
    """How long until a job is further than it was when something was killed."""
    trainer = world["trainer-1"]
    trainings = trainer.trainings()
    began = time.monotonic()
    if victim == "trainer":
        trainer.kill()
    else:
        trainings[0].kill()
    world.until("the kernel has ended its training", lambda: not any(map(alive, trainings)))
    # Not before: until it was dead it may have made a step more.
    before = made(world, job)
    if victim == "trainer":
        trainer.start()
    world.until("it goes on", partial(is_beyond, world, job, before))
    return time.monotonic() - began


def has_progress(world: World, job: str) -> bool:
    """Whether there was a checkpoint since it was last killed, if it ever was."""
    return world.value("SELECT no_progress_attempts FROM jobs WHERE id = :id", id=job) == 0


def is_beyond(world: World, job: str, step: int) -> bool:
    return made(world, job) > step


def made(world: World, job: str) -> int:
    """The last step that training has made, whether anybody has read of it or not."""
    folder = world["trainer-1"].run_folder(job)
    if folder is None:
        return 0
    with suppress(FileNotFoundError):
        # Only the last records: there are thousands, and this is asked again and again.
        for line in reversed(RunFolder(folder).events.read_bytes().splitlines(keepends=True)[-9:]):
            if line.endswith(b"\n") and json.loads(line)["kind"] == "metrics":
                return int(json.loads(line)["step"])
    return 0
