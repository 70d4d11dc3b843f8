"""A disk that is full, and a storage that is not mounted.

The nodes share a folder as their storage, as those of one machine do.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.checker import InvariantChecker
from tests.faults.scenario import Scenario, training_file
from tests.faults.test_storage import count_checkpoints, fill_disk, has_passed, small_disk

DISK_MEGABYTES = 160
# More than what a local storage counts as full, 64 MiB.
RESERVE_BYTES = 80 * 2**20
FORM = {"purpose": "user_data"}


@contextlib.contextmanager
def mounted(source: Path, target: Path) -> Iterator[None]:
    """Mount one folder on another, and unmount it at the end if it still is."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    mount(source, target)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(target)], check=False, capture_output=True)


def mount(source: Path, target: Path) -> None:
    if subprocess.run(["mount", "--bind", str(source), str(target)], check=False).returncode != 0:
        pytest.skip("this machine does not allow mounts")


def readiness(scenario: Scenario) -> dict[str, dict[str, str]]:
    checks: dict[str, dict[str, str]] = scenario.request_once("GET", "/readyz").json()["checks"]
    return checks


def post_file(scenario: Scenario, data: bytes) -> int:
    form = {"files": {"file": ("a.jsonl", data)}, "data": FORM}
    return scenario.request_once("POST", "/v1/files", **form).status_code


def test_f46_the_disk_fills_up_during_uploads_and_training(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    shared = scenario.home / "shared"
    with small_disk(shared, DISK_MEGABYTES):
        scenario.use_local_storage(shared)
        settings = {"disk_reserve_bytes": RESERVE_BYTES}
        scenario.start("api-1", "trainer-1", "io-1", **settings)
        file = scenario.upload_file(step_seconds=0.3)
        doomed = scenario.upload_file()
        job = scenario.create_job(file)
        scenario.wait_until(
            "a checkpoint is stored", lambda: count_checkpoints(scenario, job), seconds=60
        )
        # Clients fill the disk as far as they can, which is not into the reserve.
        data = bytes(16 * 2**20)
        sent = 0
        while (status := post_file(scenario, data)) == 200:
            sent += len(data)
            assert sent < DISK_MEGABYTES * 2**20, "uploads were never refused"
        assert status == 507
        # Something else fills it to the last byte.
        filler = shared / "filler"
        fill_disk(filler)
        assert not readiness(scenario)["storage"]["ok"]
        waiting = scenario.create_job(file)
        scenario.wait_until("it has been full for 5 s", has_passed(5), seconds=20)
        assert scenario.job_state(job) not in ("failed", "cancelled")
        assert scenario.request("DELETE", f"/v1/files/{doomed}").status_code == 200
        # All processes are killed, and start again on the full disk.
        for node in scenario.nodes.values():
            node.kill()
        for node in scenario.nodes.values():
            node.start()
        scenario.wait_until("the API has started again", scenario["api-1"].is_ready, seconds=60)
        assert post_file(scenario, data) in (503, 507)
        assert scenario.job_state(waiting) == "queued", "a trainer took a job on a full disk"
        filler.unlink()
        assert scenario.wait_for_jobs(job, waiting, seconds=90) == ["succeeded"] * 2
        checker.check()
        for node in scenario.nodes.values():
            node.kill()


def test_f47_the_storage_is_unmounted_during_uploads_and_training(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    shared, disk = scenario.home / "shared", scenario.home / "disk"
    shared.mkdir()
    disk.mkdir()
    with mounted(disk, shared):
        scenario.use_local_storage(shared)
        scenario.start("api-1", "trainer-1", "io-1")
        file = scenario.upload_file(step_seconds=0.3)
        job = scenario.create_job(file)
        scenario.wait_until(
            "a checkpoint is stored", lambda: count_checkpoints(scenario, job), seconds=60
        )
        subprocess.run(["umount", "-l", str(shared)], check=True)
        assert post_file(scenario, training_file(12, {})) == 503
        assert scenario.request_once("GET", f"/v1/files/{file}/content").status_code == 503
        assert "its marker is missing" in readiness(scenario)["storage"]["message"]
        waiting = scenario.create_job(file)
        # Longer than a lease, and than training would take.
        scenario.wait_until("it has been away for 10 s", has_passed(10), seconds=20)
        states = {scenario.job_state(job), scenario.job_state(waiting)}
        assert states <= {"queued", "running", "finalizing"}, "a job ended without its storage"
        assert list(shared.iterdir()) == [], "a new storage was begun in the empty folder"
        mount(disk, shared)
        assert scenario.wait_for_jobs(job, waiting, seconds=90) == ["succeeded"] * 2
        assert readiness(scenario)["storage"]["ok"]
        checker.check()
