"""The object store refuses, hangs, breaks off, lies or is away; and disks are full.

A lease of 6 s, a heartbeat of 0.5 s and a poll of 1 s stand for 60 s, 10 s and 2 s.
"""

import contextlib
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.checker import Checker
from tests.faults.measurements import Figures
from tests.faults.scenario import World, training_file


def test_f26_a_third_of_all_requests_is_refused(world: World, checker: Checker) -> None:
    world.start("api-1", "trainer-1", "io-1")
    world.fault("*", "*", times=1000, status=503, share=0.3)
    file = world.upload()
    jobs = [world.create(file) for _ in range(2)]
    assert set(world.finish(*jobs, seconds=120)) == {"succeeded"}
    checker.check()


def test_f27_the_store_does_not_answer(world: World, checker: Checker, figures: Figures) -> None:
    world.start("api-1", "trainer-1", "io-1")
    file = world.upload()
    hanging = world.fault("PUT", "*/step-6/*", held="before")
    job = world.create(file)
    hanging.wait()
    trainer = psutil.Process(world["trainer-1"].process.pid)
    threads = trainer.num_threads()
    assert world.finish(job, seconds=100) == ["succeeded"]
    assert world.attempts(job) == [(1, "done")]
    assert trainer.num_threads() <= threads, "the hanging request has left a thread behind"
    checker.check()


@pytest.mark.parametrize("spoiled", ["cut", "flipped"])
def test_f28_the_newest_checkpoint_arrives_broken(
    world: World, checker: Checker, spoiled: str
) -> None:
    world.start("api-1", "trainer-1", "io-1")
    job = world.create(world.upload(pace=0.3))
    world.until("two checkpoints are there", lambda: checkpoints(world, job) == 2, seconds=60)
    broken = {"cut": 0.5} if spoiled == "cut" else {"flip": True}
    fault = world.fault("GET", "*/step-6/adapter_model.safetensors", times=9, **broken)
    world["trainer-1"].kill()
    world.start("trainer-2")
    assert world.finish(job) == ["succeeded"]
    assert fault.hits, "nobody has read the broken checkpoint"
    checker.check()


def test_f28_the_training_file_arrives_broken(world: World, checker: Checker) -> None:
    world.start("api-1", "trainer-1", "io-1")
    file = world.upload()
    world.fault("GET", "*/files/*", flip=True)
    job = world.create(file)
    assert world.finish(job) == ["succeeded"]
    checker.check()


def checkpoints(world: World, job: str) -> int:
    return int(world.value("SELECT count(*) FROM checkpoints WHERE job_id = :id", id=job))


@pytest.mark.parametrize("moment", ["checkpoint", "finalizing"])
def test_f29_the_store_is_away(world: World, checker: Checker, moment: str) -> None:
    """30 minutes become 8 s, which is two leases."""
    world.start("api-1", "trainer-1", "io-1")
    file = world.upload(pace=0.2)
    pattern = "*/step-3/*" if moment == "checkpoint" else "*/files/*"
    fault = world.fault("PUT", pattern, held="before")
    job = world.create(file)
    fault.wait()
    world["trainer-1"].objects.refuse()
    fault.release()
    world.until("it has waited", waited(8), seconds=20)
    assert world.state(job) not in ("failed", "succeeded")
    world["trainer-1"].objects.heal()
    assert world.finish(job, seconds=90) == ["succeeded"]
    assert world.attempts(job) == [(1, "done")]
    checker.check()


def waited(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


def test_f30_another_has_written_the_manifest(world: World, checker: Checker) -> None:
    """As if the same epoch had been given twice: who comes second must not count."""
    world.start("api-1", "trainer-1", "io-1")
    file = world.upload()
    fault = world.fault("PUT", "*/step-6/manifest.json", held="before")
    job = world.create(file)
    fault.wait()
    prefix = f"projects/{world.project_id}/jobs/{job}/attempt-1/step-6"
    world.ground.objects.client().put_object(
        Bucket=world.name, Key=f"{prefix}/manifest.json", Body=b'{"files": {}}'
    )
    fault.release()
    assert world.finish(job) == ["succeeded"]
    assert [outcome for _, outcome in world.attempts(job)] == ["lost", "done"]
    checker.check()


def test_f30_a_manifest_meets_another_and_is_written_again(world: World, checker: Checker) -> None:
    world.start("api-1", "trainer-1", "io-1")
    file = world.upload()
    world.fault("PUT", "*/step-6/manifest.json", status=409)
    job = world.create(file)
    assert world.finish(job) == ["succeeded"]
    assert world.attempts(job) == [(1, "done")]
    checker.check()


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[None]:
    """A disk of its own for a folder; only root can make one."""
    path.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk that is small enough to fill")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(path)]
    if subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("this machine does not let root mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_f31_the_trainers_disk_fills_up(world: World, checker: Checker) -> None:
    world.start("api-1", "io-1")
    file = world.upload(pace=0.1, linger=0.5)
    runs = world.home / "trainer-1" / "runs"
    with small_disk(runs, 1):
        world.start("trainer-1")
        job = world.create(file)
        world.until("a checkpoint is stored", lambda: checkpoints(world, job), seconds=60)
        filler = runs / "filler"
        fill(filler)
        world.until("it was noticed", lambda: world.attempts(job)[0][1] == "crashed", seconds=60)
        filler.unlink()
        assert world.finish(job) == ["succeeded"]
        assert world.value("SELECT count(*) FROM job_events WHERE message LIKE '%disk is full%'")
        checker.check()
        world["trainer-1"].kill()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


def test_f32_the_apis_disk_is_full(world: World, checker: Checker) -> None:
    """No file may grow beyond 64 KiB, as on a full disk; the upload is a hundred times larger."""
    world.start("api-1", "trainer-1", "io-1")
    api = psutil.Process(world["api-1"].process.pid)
    api.rlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))
    data = training_file(12, {}) * 4000
    assert len(data) > 100 * 64 * 1024
    answer = world.request(
        "POST", "/v1/files", files={"file": ("big.jsonl", data)}, data={"purpose": "fine-tune"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["bytes"] == len(data)
    job = world.create(world.upload())
    assert world.finish(job) == ["succeeded"]
    checker.check()
