"""Processes are killed or frozen at the worst moments.

Unless a test says otherwise, a lease of 6 s, a heartbeat of 0.5 s and a poll interval of 1 s stand
for 60 s, 10 s and 2 s.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.faults.checker import InvariantChecker
from tests.faults.measurements import Measurements
from tests.faults.node import LEASE_SECONDS, is_alive
from tests.faults.scenario import Scenario, job_body, training_file


def kill_training(scenario: Scenario, trainer: str) -> None:
    """Kill the training process only; the trainer that supervises it lives on."""
    processes = scenario[trainer].training_processes()
    assert processes, "no training process is running"
    os.kill(processes[0].pid, signal.SIGKILL)


def outcomes(scenario: Scenario, job: str) -> list[str]:
    return [outcome for _, outcome in scenario.attempts(job)]


def test_f01_training_is_killed_before_its_first_step(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    job = scenario.create_job(scenario.upload_file(step_seconds=0.3))
    scenario.wait_until("training runs", scenario["trainer-1"].training_processes)
    kill_training(scenario, "trainer-1")
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert outcomes(scenario, job) == ["crashed", "done"]
    checker.check()


def test_f02_training_is_killed_in_the_middle_of_an_epoch(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    job = scenario.create_job(
        scenario.upload_file(step_seconds=0.4, later_step_seconds=0), epochs=20
    )
    scenario.wait_for_step(job, 5)
    kill_training(scenario, "trainer-1")
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert outcomes(scenario, job) == ["crashed", "done"]
    checker.check()


def test_f03_training_is_killed_while_it_writes_a_checkpoint(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    job = scenario.create_job(scenario.upload_file(checkpoint_seconds=1))

    def is_writing_second_checkpoint() -> bool:
        folder = scenario["trainer-1"].run_folder(job)
        return folder is not None and (folder / "checkpoints" / ".step-6.partial").exists()

    scenario.wait_until("the second checkpoint is being written", is_writing_second_checkpoint)
    kill_training(scenario, "trainer-1")
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert outcomes(scenario, job) == ["crashed", "done"]
    checker.check()


def kill_trainer_during_put(
    scenario: Scenario, checker: InvariantChecker, pattern: str, hold: str
) -> None:
    """Kill the trainer while the store holds one of its requests; another trainer takes over."""
    scenario.start("api-1", "trainer-1", "io-1")
    file = scenario.upload_file()
    fault = scenario.inject_fault("PUT", pattern, hold=hold)
    job = scenario.create_job(file)
    fault.wait_until_hit()
    scenario["trainer-1"].kill()
    # Its request is performed nevertheless, late.
    fault.release()
    scenario.start("trainer-2")
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert outcomes(scenario, job) == ["lost", "done"]
    checker.check()


def test_f04_a_trainer_is_killed_between_upload_and_manifest(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    kill_trainer_during_put(scenario, checker, "*/step-6/manifest.json", "before")


def test_f05_a_trainer_is_killed_between_manifest_and_database_row(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    kill_trainer_during_put(scenario, checker, "*/step-6/manifest.json", "after")


def test_f06_a_trainer_is_killed_while_it_finalizes(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    kill_trainer_during_put(scenario, checker, "*/files/*", "before")


@pytest.mark.fault_smoke
def test_f07_a_trainer_is_killed_and_another_resumes(
    scenario: Scenario, checker: InvariantChecker, measurements: Measurements
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    job = scenario.create_job(
        scenario.upload_file(step_seconds=0.3, later_step_seconds=0), epochs=20
    )
    scenario.wait_for_step(job, 4)
    training = scenario["trainer-1"].training_processes()
    scenario["trainer-1"].kill()
    scenario.wait_until("its training process is dead", lambda: not any(map(is_alive, training)))
    # Its own lease is not scaled: a test machine that stalls for seconds must not end it.
    scenario.start("trainer-2", lease_seconds=60)
    seconds = scenario.wait_until(
        "another trainer has it", lambda: len(scenario.attempts(job)) == 2
    )
    note = f"lease {LEASE_SECONDS:g} s instead of 60 s"
    measurements.add("recovery after kill -9 of a trainer, scaled", seconds, at_most=30, note=note)
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert outcomes(scenario, job) == ["lost", "done"]
    checker.check()


def test_f07_recovery_takes_at_most_75_seconds_with_production_settings(
    scenario: Scenario, checker: InvariantChecker, measurements: Measurements
) -> None:
    """Lease 60 s, heartbeat 10 s, poll interval 2 s; the training stays small."""
    production = {"lease_seconds": 60, "heartbeat_interval_seconds": 10, "poll_interval_seconds": 2}
    scenario.start("api-1", "trainer-1", "io-1", **production)
    job = scenario.create_job(
        scenario.upload_file(step_seconds=0.5, later_step_seconds=0), epochs=20
    )
    scenario.wait_for_step(job, 4)
    scenario["trainer-1"].kill()
    scenario.start("trainer-2", **production)
    seconds = scenario.wait_until(
        "another trainer has it", lambda: len(scenario.attempts(job)) == 2, seconds=90
    )
    note = "lease 60 s, heartbeat 10 s"
    measurements.add("recovery after kill -9 of a trainer", seconds, at_most=75, note=note)
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    checker.check()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_f08_the_api_is_killed_around_the_commit_of_a_new_job(
    scenario: Scenario, checker: InvariantChecker, moment: str
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    file = scenario.upload_file()
    commit_response = b"COMMIT\0" if moment == "after" else None
    breakpoint_ = scenario["api-1"].database.add_breakpoint(
        b"COMMIT\0", commit_response, after=b"INSERT INTO jobs"
    )
    body = job_body(file)
    with (
        pytest.raises(httpx.TransportError),
        kill_when(scenario, "api-1", breakpoint_.wait_until_hit),
    ):
        scenario.request_once(
            "POST", "/v1/fine_tuning/jobs", json=body, headers={"x-stainless-retry-count": "0"}
        )
    breakpoint_.reset_connection()
    scenario["api-1"].start()
    retry_headers = {"x-stainless-retry-count": "1"}
    scenario.wait_until("the API is back", scenario["api-1"].is_ready)
    response = scenario.request_once(
        "POST", "/v1/fine_tuning/jobs", json=body, headers=retry_headers
    )
    assert response.status_code == 200, response.text
    scenario.record_job(response.json()["id"])
    assert scenario.query_value("SELECT count(*) FROM jobs") == 1
    assert scenario.wait_for_jobs(response.json()["id"]) == ["succeeded"]
    checker.check()


@contextlib.contextmanager
def kill_when(scenario: Scenario, name: str, wait: Callable[[], None]) -> Iterator[None]:
    """Kill a process as soon as `wait()` returns, while the block waits for its response."""

    def wait_and_kill() -> None:
        wait()
        scenario[name].kill()

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_f09_the_api_is_killed_in_the_middle_of_an_upload(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    # More than one part of a multipart upload, so that an upload is open at the store.
    data = training_file(12, {}) * 20_000
    head, tail = form_around_file()
    with socket.create_connection(("127.0.0.1", scenario["api-1"].settings.port)) as client:
        client.sendall(request_head(scenario, len(head) + len(data) + len(tail)) + head)
        client.sendall(data[: len(data) * 3 // 4])
        scenario.wait_until("the store has a part of it", checker.list_multipart_uploads)
        scenario["api-1"].kill()
    assert scenario.query_value("SELECT count(*) FROM files") == 0
    scenario["api-1"].start()
    job = scenario.create_job(scenario.upload_file())
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    checker.check()


def form_around_file() -> tuple[bytes, bytes]:
    """The bytes before and after a file in a multipart form."""
    head = (
        b'--cut\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    )
    return head, b"\r\n--cut--\r\n"


def request_head(scenario: Scenario, length: int) -> bytes:
    lines = [
        "POST /v1/files HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {scenario.secret}",
        "Content-Type: multipart/form-data; boundary=cut",
        f"Content-Length: {length}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def test_f10_the_outbox_dispatcher_is_killed_between_notifying_and_recording(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    file = scenario.upload_file()
    breakpoint_ = scenario["io-1"].database.add_breakpoint(b"UPDATE outbox SET done_at")
    job = scenario.create_job(file)
    breakpoint_.wait_until_hit()
    scenario["io-1"].kill()
    breakpoint_.reset_connection()
    scenario.start("io-2")
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert outcomes(scenario, job) == ["done"]
    checker.check()


def test_f11_the_leader_is_killed_in_the_middle_of_a_task(
    scenario: Scenario, checker: InvariantChecker, measurements: Measurements
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    job = scenario.create_job(
        scenario.upload_file(step_seconds=0.3, later_step_seconds=0), epochs=20
    )
    scenario.wait_for_step(job, 4)
    with scenario.lock_table("job_leases"):
        scenario["trainer-1"].kill()
        scenario.wait_until(
            "the leader waits for the lock", lambda: is_waiting_for_lock(scenario, "io-1")
        )
        scenario["io-1"].kill()
    scenario.start("io-2", "trainer-2")
    seconds = scenario.wait_until("the new leader acts", lambda: len(scenario.attempts(job)) == 2)
    measurements.add("a new leader acts after kill -9 of the old one", seconds, at_most=30)
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    checker.check()


def is_waiting_for_lock(scenario: Scenario, name: str) -> bool:
    """Whether a process is in a transaction that waits for a lock."""
    count_waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = :name"
        " AND wait_event_type = 'Lock'"
    )
    return bool(scenario.query_value(count_waiting, name=name))


@pytest.mark.fault_smoke
def test_f12_a_trainer_freezes_and_thaws_after_its_job_went_to_another(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    """Scaled from 3 minutes with a lease of 60 s: the lease of 6 s expires, another makes steps."""
    scenario.start("api-1", "trainer-1", "io-1")
    job = scenario.create_job(
        scenario.upload_file(step_seconds=0.3, later_step_seconds=0.05), epochs=20
    )
    scenario.wait_for_step(job, 4)
    scenario["trainer-1"].freeze()
    zombie = scenario["trainer-1"].training_processes()
    scenario.start("trainer-2", lease_seconds=60)
    scenario.wait_until("another trainer has it", lambda: len(scenario.attempts(job)) == 2)
    scenario.wait_for_step(job, 8)
    scenario["trainer-1"].thaw()
    scenario.wait_until("the zombie's training has ended", lambda: not any(map(is_alive, zombie)))
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert outcomes(scenario, job) == ["lost", "done"]
    checker.check()


def test_f13_a_trainer_dies_with_the_task_hint_that_it_received(
    scenario: Scenario, checker: InvariantChecker, measurements: Measurements
) -> None:
    """The other trainer is cut off from the broker: it can find the job only by polling."""
    scenario.start("api-1", "trainer-1", "io-1", "trainer-2", poll_interval_seconds=2)
    file = scenario.upload_file()
    scenario.wait_until("both trainers are ready", lambda: count_ready_trainers(scenario) >= 2)
    scenario["trainer-2"].broker.refuse()
    scenario["trainer-1"].freeze()
    job = scenario.create_job(file)
    scenario["trainer-1"].kill()
    scenario.wait_until("it is queued", lambda: scenario.job_state(job) != "validating_files")
    seconds = scenario.wait_until("it runs", lambda: scenario.job_state(job) != "queued")
    measurements.add("a job whose task hint was lost starts after", seconds, at_most=6)
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    checker.check()


def count_ready_trainers(scenario: Scenario) -> int:
    return sum(" ready." in scenario[name].log for name in ("trainer-1", "trainer-2"))
