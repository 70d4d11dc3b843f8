"""A training process that does nothing is told from one that is slow."""

import time
from pathlib import Path

from worker.rundir import Metrics, RunFolder
from worker.supervisor.watch import Watch


def step(folder: RunFolder, number: int) -> None:
    folder.append(Metrics(step=number, values={}, seconds=1.0, tokens=1))


def test_silence_from_the_start_is_in_vain(tmp_path: Path) -> None:
    watch = Watch(RunFolder(tmp_path), patience_seconds=0.01)
    assert not watch.is_in_vain()
    time.sleep(0.1)
    assert watch.is_in_vain()


def test_the_first_record_may_take_longer_than_a_step(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    watch = Watch(folder, patience_seconds=0.5)
    assert not watch.is_in_vain()
    time.sleep(0.6)
    assert not watch.is_in_vain()
    step(folder, 1)
    assert not watch.is_in_vain()
    time.sleep(0.6)
    assert watch.is_in_vain()


def test_each_record_starts_the_patience_anew(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    watch = Watch(folder, patience_seconds=0.05)
    for number in range(3):
        time.sleep(0.1)
        step(folder, number)
        assert not watch.is_in_vain()
    time.sleep(0.1)
    assert watch.is_in_vain()
