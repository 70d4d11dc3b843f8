"""Our own training, on a model of a few thousand weights, ends with the bits of a quiet run."""

import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest
from transformers import LlamaForCausalLM, set_seed

from tests.faults.checker import Checker
from tests.faults.world import MODEL, World
from tests.worker.conftest import tiny_config, tiny_tokenizer

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
    job = world.create(world.upload(), passes=40)
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
