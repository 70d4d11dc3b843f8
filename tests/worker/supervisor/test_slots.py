"""Slots: each job sees a GPU of its own, by the environment that its processes get."""

import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.worker.supervisor.fake_trainer import TrainerFixture
from worker.supervisor import slots
from worker.supervisor.job_runner import JobRunner
from worker.supervisor.slots import VISIBLE_DEVICES, Slot, Slots, list_devices

# Waits until both have written their devices, so that they run at the same time.
WRITE_DEVICES = """
import os, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
with (folder / "devices").open("a") as devices:
    devices.write(os.environ["CUDA_VISIBLE_DEVICES"] + "\\n")
while len((folder / "devices").read_text().split()) < 2:
    time.sleep(0.01)
sys.exit(10)
"""


@pytest.fixture(autouse=True)
def cuda_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch as it is installed for GPUs."""
    monkeypatch.setattr(slots, "_find_torch_version", lambda: "2.13.0+cu130")


def take_all(all_slots: Slots) -> list[Slot]:
    taken = []
    while (slot := all_slots.acquire()) is not None:
        taken.append(slot)
    return taken


def test_each_slot_has_a_device_and_too_many_slots_share_them() -> None:
    devices = [slot.devices for slot in take_all(Slots(5, ["0", "1"]))]
    assert devices == [("0",), ("1",), ("0",), ("1",), ("0",)]


def test_a_slot_has_as_many_devices_as_its_job_has_processes() -> None:
    devices = [slot.devices for slot in take_all(Slots(3, list("012345"), per_slot=2))]
    assert devices == [("0", "1"), ("2", "3"), ("4", "5")]
    shared = [slot.devices for slot in take_all(Slots(2, list("012"), per_slot=2))]
    assert shared == [("0", "1"), ("2", "0")], "never one twice in a slot"


def test_too_few_devices_for_a_single_slot_are_an_error() -> None:
    with pytest.raises(SystemExit, match=r"LUTHIER_TRAINING_PROCESSES is 4, but .* 2 GPU"):
        Slots(1, ["0", "1"], per_slot=4)


def test_without_devices_processes_inherit_their_environment() -> None:
    assert [slot.build_environment() for slot in take_all(Slots(2, []))] == [{}, {}]


def test_a_released_slot_can_be_acquired_again() -> None:
    both = Slots(2, ["0", "1"])
    first, second = take_all(both)
    both.release(second)
    assert both.acquire() == second
    assert both.acquire() is None
    both.release(first)
    assert both.acquire() == first


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        ("", []),
        ("-1", []),
        ("2,-1,3", ["2"]),
        ("1, 0", ["1", "0"]),
        ("GPU-8932f937,MIG-41b2", ["GPU-8932f937", "MIG-41b2"]),
    ],
)
def test_a_trainer_has_the_devices_that_it_may_see(
    monkeypatch: pytest.MonkeyPatch, visible: str, devices: list[str]
) -> None:
    monkeypatch.setenv(VISIBLE_DEVICES, visible)
    assert list_devices() == devices


def test_a_trainer_that_may_see_all_has_those_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(VISIBLE_DEVICES, raising=False)
    for name in ("nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    # A container with the fourth GPU of a machine has two, and CUDA numbers them from 0.
    assert list_devices(tmp_path) == ["0", "1"]


def test_torch_for_cpus_has_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE_DEVICES, "0")
    monkeypatch.setattr(slots, "_find_torch_version", lambda: "2.13.0+cpu")
    assert list_devices() == []


def test_jobs_at_once_see_different_devices(
    trainer: TrainerFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VISIBLE_DEVICES, "3,5")
    script = tmp_path / "write_devices.py"
    script.write_text(WRITE_DEVICES.replace("sys.argv[1]", repr(str(tmp_path))))
    settings = trainer.context.settings.model_copy(update={"trainer_concurrency": 2})
    context = replace(trainer.context, settings=settings, command=(sys.executable, str(script)))
    runner = JobRunner(context)
    for _ in range(2):
        trainer.create_job()
    threads = [threading.Thread(target=runner.run_queued) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((tmp_path / "devices").read_text().split()) == ["3", "5"]
