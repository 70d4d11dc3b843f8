"""The checkpoint interval adapts to the cost of saving."""

from tests.worker.fake_clock import FakeClock
from worker.training.checkpoint_interval import CheckpointInterval


def interval_after_save(clock: FakeClock, *, cost: float) -> CheckpointInterval:
    """An interval whose last checkpoint has just been saved, in `cost` seconds."""
    interval = CheckpointInterval(min_seconds=10, clock=clock)
    with interval.time_save():
        clock.now += cost
    return interval


def test_no_checkpoint_is_due_at_once() -> None:
    clock = FakeClock()
    interval = CheckpointInterval(min_seconds=10, clock=clock)
    clock.now += 9
    assert not interval.is_due


def test_a_cheap_checkpoint_is_due_after_the_minimum_interval() -> None:
    clock = FakeClock()
    interval = interval_after_save(clock, cost=0.01)
    clock.now += 11
    assert interval.is_due


def test_an_expensive_checkpoint_takes_at_most_a_hundredth_of_the_time() -> None:
    clock = FakeClock()
    interval = interval_after_save(clock, cost=1)
    clock.now += 99
    assert not interval.is_due
    clock.now += 2
    assert interval.is_due
