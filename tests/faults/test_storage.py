"""The object store fails, hangs, truncates, corrupts or is down; and disks are full.

A lease of 6 s, a heartbeat of 0.5 s and a poll interval of 1 s stand for 60 s, 10 s and 2 s.
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

from tests.faults.checker import InvariantChecker
from tests.faults.measurements import Measurements
from tests.faults.scenario import Scenario, training_file


def test_f26_the_store_rejects_a_third_of_all_requests(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    scenario.inject_fault("*", "*", max_hits=1000, status=503, probability=0.3)
    file = scenario.upload_file()
    jobs = [scenario.create_job(file) for _ in range(2)]
    assert set(scenario.wait_for_jobs(*jobs, seconds=120)) == {"succeeded"}
    checker.check()


def test_f27_the_store_does_not_respond(
    scenario: Scenario, checker: InvariantChecker, measurements: Measurements
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    file = scenario.upload_file()
    hanging = scenario.inject_fault("PUT", "*/step-6/*", hold="before")
    job = scenario.create_job(file)
    hanging.wait_until_hit()
    trainer = psutil.Process(scenario["trainer-1"].process.pid)
    threads = trainer.num_threads()
    assert scenario.wait_for_jobs(job, seconds=100) == ["succeeded"]
    assert scenario.attempts(job) == [(1, "done")]
    assert trainer.num_threads() <= threads, "the hanging request has left a thread behind"
    checker.check()


@pytest.mark.parametrize("corruption", ["truncated", "bit flipped"])
def test_f28_the_newest_checkpoint_arrives_corrupt(
    scenario: Scenario, checker: InvariantChecker, corruption: str
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    job = scenario.create_job(scenario.upload_file(step_seconds=0.3))
    scenario.wait_until(
        "two checkpoints are recorded", lambda: count_checkpoints(scenario, job) == 2, seconds=60
    )
    options = {"truncate_to": 0.5} if corruption == "truncated" else {"flip_bit": True}
    fault = scenario.inject_fault(
        "GET", "*/step-6/adapter_model.safetensors", max_hits=9, **options
    )
    scenario["trainer-1"].kill()
    scenario.start("trainer-2")
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert fault.hits, "the corrupt checkpoint was not read"
    checker.check()


def test_f28_the_training_file_arrives_corrupt(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    file = scenario.upload_file()
    scenario.inject_fault("GET", "*/files/*", flip_bit=True)
    job = scenario.create_job(file)
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    checker.check()


def count_checkpoints(scenario: Scenario, job: str) -> int:
    return int(scenario.query_value("SELECT count(*) FROM checkpoints WHERE job_id = :id", id=job))


@pytest.mark.parametrize("moment", ["checkpoint", "finalizing"])
def test_f29_the_store_is_down(scenario: Scenario, checker: InvariantChecker, moment: str) -> None:
    """An outage of 30 minutes becomes 8 s, longer than a lease."""
    scenario.start("api-1", "trainer-1", "io-1")
    file = scenario.upload_file(step_seconds=0.2)
    pattern = "*/step-3/*" if moment == "checkpoint" else "*/files/*"
    fault = scenario.inject_fault("PUT", pattern, hold="before")
    job = scenario.create_job(file)
    fault.wait_until_hit()
    scenario["trainer-1"].objects.refuse()
    fault.release()
    scenario.wait_until("the outage has lasted 8 s", has_passed(8), seconds=20)
    assert scenario.job_state(job) not in ("failed", "succeeded")
    scenario["trainer-1"].objects.heal()
    assert scenario.wait_for_jobs(job, seconds=90) == ["succeeded"]
    assert scenario.attempts(job) == [(1, "done")]
    checker.check()


def has_passed(seconds: float) -> Callable[[], bool]:
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() > deadline


def test_f30_another_writer_has_stored_the_manifest(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    """As if one attempt number had been given twice: the second writer must lose."""
    scenario.start("api-1", "trainer-1", "io-1")
    file = scenario.upload_file()
    fault = scenario.inject_fault("PUT", "*/step-6/manifest.json", hold="before")
    job = scenario.create_job(file)
    fault.wait_until_hit()
    prefix = f"projects/{scenario.project_id}/jobs/{job}/attempt-1/step-6"
    scenario.services.objects.client().put_object(
        Bucket=scenario.name, Key=f"{prefix}/manifest.json", Body=b'{"files": {}}'
    )
    fault.release()
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert [outcome for _, outcome in scenario.attempts(job)] == ["lost", "done"]
    checker.check()


def test_f30_a_conflicting_write_of_the_manifest_is_retried(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    file = scenario.upload_file()
    scenario.inject_fault("PUT", "*/step-6/manifest.json", status=409)
    job = scenario.create_job(file)
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert scenario.attempts(job) == [(1, "done")]
    checker.check()


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[None]:
    """Mount a small tmpfs on a folder. Skips the test where that is not possible."""
    path.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(path)]
    if subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("this machine does not allow mounts")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_f31_the_trainers_disk_fills_up(scenario: Scenario, checker: InvariantChecker) -> None:
    scenario.start("api-1", "io-1")
    file = scenario.upload_file(step_seconds=0.1, checkpoint_seconds=0.5)
    runs = scenario.home / "trainer-1" / "runs"
    with small_disk(runs, 1):
        scenario.start("trainer-1")
        job = scenario.create_job(file)
        scenario.wait_until(
            "a checkpoint is stored", lambda: count_checkpoints(scenario, job), seconds=60
        )
        filler = runs / "filler"
        fill_disk(filler)
        scenario.wait_until(
            "the attempt has crashed", lambda: scenario.attempts(job)[0][1] == "crashed", seconds=60
        )
        filler.unlink()
        assert scenario.wait_for_jobs(job) == ["succeeded"]
        assert scenario.query_value(
            "SELECT count(*) FROM job_events WHERE message LIKE '%disk is full%'"
        )
        checker.check()
        scenario["trainer-1"].kill()


def fill_disk(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


def test_f32_the_disk_of_the_api_is_full(scenario: Scenario, checker: InvariantChecker) -> None:
    """No file may grow beyond 64 KiB, as on a full disk; the upload is 100 times larger."""
    scenario.start("api-1", "trainer-1", "io-1")
    api = psutil.Process(scenario["api-1"].process.pid)
    api.rlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))
    data = training_file(12, {}) * 4000
    assert len(data) > 100 * 64 * 1024
    response = scenario.request(
        "POST", "/v1/files", files={"file": ("big.jsonl", data)}, data={"purpose": "fine-tune"}
    )
    assert response.status_code == 200, response.text
    assert response.json()["bytes"] == len(data)
    job = scenario.create_job(scenario.upload_file())
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    checker.check()
