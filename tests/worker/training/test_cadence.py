"""Checkpoints come as often as they are cheap."""

import time

from worker.training.cadence import Cadence


def save(cadence: Cadence, seconds: float) -> None:
    with cadence.saving():
        time.sleep(seconds)


def test_none_is_due_at_once() -> None:
    assert not Cadence(least_seconds=60).is_due


def test_a_cheap_one_is_due_after_the_least_time() -> None:
    cadence = Cadence(least_seconds=0.02)
    save(cadence, 0)
    time.sleep(0.05)
    assert cadence.is_due


def test_a_dear_one_is_not_due_again_until_it_has_paid_off() -> None:
    cadence = Cadence(least_seconds=0.0)
    save(cadence, 0.05)
    time.sleep(0.2)
    assert not cadence.is_due
