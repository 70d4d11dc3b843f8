"""Something is killed, at the worst moments that could be thought of.

A lease of 4 s, a heartbeat of 0.5 s and a poll of 1 s stand for 60 s, 10 s and 5 s.
"""

import os
import signal

import pytest

from tests.faults.checker import Checker
from tests.faults.world import World


def kill_training(world: World, trainer: str) -> None:
    """Only the training process; its supervisor sees it."""
    processes = world[trainer].trainings()
    assert processes, "no training runs"
    os.kill(processes[0].pid, signal.SIGKILL)


@pytest.mark.fault_smoke
def test_f01_training_is_killed_before_its_first_step(world: World, checker: Checker) -> None:
    world.start("api-1", "trainer-1", "io-1")
    job = world.create(world.upload(pace=0.3))
    world.until("training runs", world["trainer-1"].trainings)
    kill_training(world, "trainer-1")
    assert world.finish(job) == ["succeeded"]
    assert [outcome for _, outcome in world.attempts(job)] == ["crashed", "done"]
    checker.check()
