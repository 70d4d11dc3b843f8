"""Checkpoints come as often as they are cheap."""

from tests.worker.fake_clock import FakeClock
from worker.training.checkpoint_interval import CheckpointInterval


def saved(clock: FakeClock, *, cost: float) -> CheckpointInterval:
    """A cadence whose last checkpoint has just been written, in so many seconds."""
    cadence = CheckpointInterval(min_seconds=10, clock=clock)
    with cadence.time_save():
        clock.now += cost
    return cadence


def test_none_is_due_at_once() -> None:
    clock = FakeClock()
    cadence = CheckpointInterval(min_seconds=10, clock=clock)
    clock.now += 9
    assert not cadence.is_due


def test_a_cheap_one_is_due_after_the_least_time() -> None:
    clock = FakeClock()
    cadence = saved(clock, cost=0.01)
    clock.now += 11
    assert cadence.is_due


def test_a_dear_one_is_due_when_it_is_a_hundredth_of_the_time() -> None:
    clock = FakeClock()
    cadence = saved(clock, cost=1)
    clock.now += 99
    assert not cadence.is_due
    clock.now += 2
    assert cadence.is_due
