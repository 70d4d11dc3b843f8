"""A stalled training process is distinguished from a slow one."""

from pathlib import Path

from tests.worker.fake_clock import FakeClock
from worker.run_folder import Metrics, RunFolder
from worker.supervisor.stall_watchdog import StallWatchdog


def step(folder: RunFolder, number: int) -> None:
    folder.append_event(Metrics(step=number, values={}, seconds=1.0, tokens=1))


def test_no_event_from_the_start_is_a_stall(tmp_path: Path) -> None:
    clock = FakeClock()
    watch = StallWatchdog(RunFolder(tmp_path), timeout_seconds=10, clock=clock)
    assert not watch.is_stalled()
    clock.now += 61
    assert watch.is_stalled()


def test_the_first_event_may_take_longer_than_a_step(tmp_path: Path) -> None:
    folder, clock = RunFolder(tmp_path), FakeClock()
    watch = StallWatchdog(folder, timeout_seconds=10, clock=clock)
    clock.now += 59
    assert not watch.is_stalled()
    step(folder, 1)
    assert not watch.is_stalled()
    clock.now += 11
    assert watch.is_stalled()


def test_each_event_resets_the_timeout(tmp_path: Path) -> None:
    folder, clock = RunFolder(tmp_path), FakeClock()
    watch = StallWatchdog(folder, timeout_seconds=10, clock=clock)
    for number in range(3):
        clock.now += 9
        step(folder, number)
        assert not watch.is_stalled()
    clock.now += 11
    assert watch.is_stalled()
