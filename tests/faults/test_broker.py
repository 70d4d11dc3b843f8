"""The broker loses and repeats messages, is slow, full or down: only time is lost.

A poll interval of 1 s stands for 2 s, and seconds of an outage for minutes.
"""

import base64
import json
import pickle
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from app.broker import IO_QUEUE, TRAIN_QUEUE, TaskNotifier
from app.settings import Settings
from tests.faults.checker import InvariantChecker
from tests.faults.measurements import Measurements
from tests.faults.scenario import Scenario


def connect_to_broker(scenario: Scenario) -> "redis.Redis[bytes]":
    return redis.Redis(unix_socket_path=scenario.services.valkey_socket)


def test_f14_the_broker_loses_all_of_fifty_task_hints(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "io-1")
    file = scenario.upload_file(step_seconds=0)
    jobs = [scenario.create_job(file, epochs=1, batch_size=12) for _ in range(50)]
    count_queued = "SELECT count(*) FROM jobs WHERE state = 'queued'"
    scenario.wait_until("all are queued", lambda: scenario.query_value(count_queued) == len(jobs))
    with connect_to_broker(scenario) as client:
        client.flushall()
    scenario.start("trainer-1", trainer_concurrency=4)
    assert set(scenario.wait_for_jobs(*jobs, seconds=200)) == {"succeeded"}
    checker.check()


def test_f15_the_broker_is_killed_three_times(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    file = scenario.upload_file(step_seconds=0.2)
    jobs = []
    for _ in range(3):
        jobs.append(scenario.create_job(file))
        scenario.wait_until("it runs", lambda: scenario.attempts(jobs[-1]))
        scenario.services.valkey.restart()
        assert scenario.wait_for_jobs(jobs[-1]) == ["succeeded"]
    assert [scenario.attempts(job) for job in jobs] == [[(1, "done")]] * 3
    checker.check()


@pytest.mark.fault_smoke
def test_f16_without_a_broker_all_requests_and_jobs_work(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    """An outage of 10 minutes becomes the time of two jobs."""
    scenario.start("api-1", "trainer-1", "io-1")
    file = scenario.upload_file(step_seconds=0)
    scenario.services.valkey.kill()
    try:
        for _ in range(2):
            job = scenario.create_job(file)
            assert scenario.wait_for_jobs(job) == ["succeeded"]
            assert scenario.request_once("GET", f"/v1/fine_tuning/jobs/{job}").status_code == 200
    finally:
        scenario.services.valkey.restart()
    assert {status for _, _, status in scenario.history.responses} == {200}
    checker.check()


def test_f16_a_job_starts_seconds_later_without_a_broker(
    scenario: Scenario, checker: InvariantChecker, measurements: Measurements
) -> None:
    """With production's poll interval; the baseline is measured with the broker."""
    scenario.start(
        "api-1", "trainer-1", "io-1", poll_interval_seconds=Settings().poll_interval_seconds
    )
    file = scenario.upload_file(step_seconds=0)
    assert scenario.wait_for_jobs(scenario.create_job(file)) == ["succeeded"]
    baseline = sorted(seconds_to_acquire(scenario, file) for _ in range(3))[1]
    scenario.services.valkey.kill()
    try:
        for _ in range(8):
            added = seconds_to_acquire(scenario, file) - baseline
            measurements.add("added without a broker, from POST to a trainer", added, at_most=6)
    finally:
        scenario.services.valkey.restart()
    assert {status for _, _, status in scenario.history.responses} == {200}
    checker.check()


def seconds_to_acquire(scenario: Scenario, file: str) -> float:
    """Seconds until a trainer has acquired a new job. Also waits for its end."""
    began = time.monotonic()
    job = scenario.create_job(file)
    scenario.wait_until("it is acquired", lambda: scenario.attempts(job))
    seconds = time.monotonic() - began
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    return seconds


@pytest.mark.parametrize("fault", ["slow", "silent"])
def test_f17_a_slow_or_silent_broker_delays_no_request(
    scenario: Scenario, checker: InvariantChecker, measurements: Measurements, fault: str
) -> None:
    """The broker takes 2 s for each message, or accepts connections and never responds."""
    scenario.start("api-1", "trainer-1", "io-1")
    file = scenario.upload_file(step_seconds=0)
    # The first request of a kind compiles and connects; that is no delay by the broker.
    jobs = [scenario.create_job(file)]
    for node in scenario.nodes.values():
        if fault == "slow":
            node.broker.latency = 1.0
        else:
            node.broker.black_hole()
    count = len(scenario.history.latencies)
    # Some requests fall into the cooldown after a failure, others try the broker again.
    for _ in range(10):
        jobs.append(scenario.create_job(file))
        time.sleep(0.5)
    seconds = scenario.history.latencies[count:]
    measurements.add(f"a POST with a {fault} broker", *seconds, at_most=6)
    assert {status for _, _, status in scenario.history.responses} == {200}
    assert set(scenario.wait_for_jobs(*jobs, seconds=90)) == {"succeeded"}
    for node in scenario.nodes.values():
        node.broker.heal()
    checker.check()


def test_f18_a_full_broker_rejects_task_hints(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    file = scenario.upload_file(step_seconds=0)
    with connect_to_broker(scenario) as client:
        client.config_set("maxmemory", 1)
        try:
            jobs = [scenario.create_job(file) for _ in range(3)]
            assert set(scenario.wait_for_jobs(*jobs)) == {"succeeded"}
        finally:
            client.config_set("maxmemory", 0)
    assert {status for _, _, status in scenario.history.responses} == {200}
    checker.check()


def test_f19_a_hundred_repeated_task_hints_change_nothing(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    # A trainer consumes a hint per second and slot.
    scenario.start("api-1", "trainer-1", "io-1", trainer_concurrency=4)
    file = scenario.upload_file(step_seconds=0.1)
    done, stopped, running = (scenario.create_job(file) for _ in range(3))
    scenario.post_job_action("cancel", stopped)
    assert scenario.wait_for_jobs(done) == ["succeeded"]
    before = scenario.query("SELECT * FROM job_events WHERE job_id = :id ORDER BY seq", id=done)
    notifier = TaskNotifier(f"redis://127.0.0.1:{scenario['api-1'].broker.port}/0")
    for number in range(25):
        for job in (done, stopped, running, "ftjob-unknown"):
            assert notifier.notify(("train", "validate")[number % 2], job)
    assert scenario.wait_for_jobs(running) == ["succeeded"]
    scenario.wait_until("all hints were consumed", are_queues_empty(scenario), seconds=150)
    assert scenario.attempts(done) == scenario.attempts(running) == [(1, "done")]
    assert scenario.attempts(stopped) == []
    after = scenario.query("SELECT * FROM job_events WHERE job_id = :id ORDER BY seq", id=done)
    assert after == before
    checker.check()


def are_queues_empty(scenario: Scenario) -> Callable[[], bool]:
    def check() -> bool:
        with connect_to_broker(scenario) as client:
            return not client.llen("luthier:io") and not client.llen("luthier:train")

    return check


class _CreatesFile:
    """Object whose pickle creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def forge_message(queue: str, task: str, body: bytes, content_type: str) -> str:
    """Build a message of Celery's protocol 2 as kombu stores it in Redis."""
    delivery = {"exchange": "", "routing_key": queue}
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8" if content_type == "application/json" else "binary",
            "content-type": content_type,
            "headers": {"lang": "py", "task": task, "id": str(uuid.uuid4())},
            "properties": {
                "delivery_mode": 2,
                "delivery_info": delivery,
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    )


def test_a44_forged_messages_change_nothing(
    scenario: Scenario, checker: InvariantChecker, tmp_path: Path
) -> None:
    """Pickles, unknown tasks, invalid arguments, 10 MB and garbage; then a job trains."""
    scenario.start("api-1", "trainer-1", "io-1")
    canary = tmp_path / "loaded"
    pickled = pickle.dumps(((), {"v": 1, "job_id": _CreatesFile(canary)}, {}))

    def as_json(*arguments: object, **options: object) -> bytes:
        return json.dumps([arguments, options, {}]).encode()

    with connect_to_broker(scenario) as client:
        for queue, task in ((TRAIN_QUEUE, "train"), (IO_QUEUE, "validate")):
            name = f"worker.tasks.{task}"
            forged = [
                forge_message(queue, name, pickled, "application/x-python-serialize"),
                forge_message(queue, "os.system", as_json("true"), "application/json"),
                forge_message(
                    queue, name, as_json(v=1, job_id="ftjob-unknown"), "application/json"
                ),
                forge_message(queue, name, as_json(v=1, job_id={"$ne": 1}), "application/json"),
                forge_message(queue, name, as_json(v=1, x="x" * 10**7), "application/json"),
                forge_message(queue, name, b"[" * 100_000, "application/json"),
                forge_message(queue, name, as_json(1, 2, 3, 4), "application/json"),
                "garbage",
                "{}",
            ]
            client.lpush(f"luthier:{queue}", *forged)
        scenario.wait_until(
            "all forged messages are consumed",
            lambda: client.llen("luthier:train") + client.llen("luthier:io") == 0,
        )
    job = scenario.create_job(scenario.upload_file(step_seconds=0))
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert scenario.attempts(job) == [(1, "done")]
    assert not canary.exists(), "a pickle was loaded"
    assert all(node.process.poll() is None for node in scenario.nodes.values())
    checker.check()
