"""Trainers are drained, cut off, given wrong clocks and poison jobs, and upgraded under load.

Unless a test says otherwise, a lease of 6 s, a heartbeat of 0.5 s and a poll interval of 1 s stand
for 60 s, 10 s and 2 s.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.faults.checker import InvariantChecker
from tests.faults.measurements import Measurements
from tests.faults.node import LEASE_SECONDS
from tests.faults.scenario import TERMINAL, Scenario, job_body

DRAINS = 10
CANCELS = 30


def outcomes(scenario: Scenario, job: str) -> list[str]:
    return [outcome for _, outcome in scenario.attempts(job)]


def is_attempt(scenario: Scenario, job: str, number: int) -> bool:
    return len(scenario.attempts(job)) == number


@pytest.mark.fault_smoke
def test_f33_a_terminated_trainer_yields_its_job(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1", lease_seconds=60)
    job = scenario.create_job(
        scenario.upload_file(step_seconds=0.3, later_step_seconds=0), epochs=20
    )
    scenario.wait_for_step(job, 2)
    scenario["trainer-1"].terminate()
    assert scenario["trainer-1"].wait() == 0
    scenario.start("trainer-2", lease_seconds=60)
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert outcomes(scenario, job) == ["yielded", "done"]
    assert scenario.query_value("SELECT no_progress_attempts FROM jobs WHERE id = :id", id=job) == 0
    checker.check()


def test_f33_ten_trainers_yield_one_job_in_turn(
    scenario: Scenario, checker: InvariantChecker, measurements: Measurements
) -> None:
    scenario.start("api-1", "trainer-0", "io-1")
    job = scenario.create_job(scenario.upload_file(step_seconds=0.3), epochs=30)
    for number in range(DRAINS):
        scenario.wait_until("it trains", partial(is_attempt, scenario, job, number + 1))
        scenario.wait_for_step(job, scenario.last_step(job) + 2)
        # The next one starts while this one drains.
        scenario.start(f"trainer-{number + 1}")
        began = time.monotonic()
        scenario[f"trainer-{number}"].terminate()
        assert scenario[f"trainer-{number}"].wait() == 0
        measurements.add("drain of a trainer", time.monotonic() - began, at_most=30)
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert outcomes(scenario, job) == ["yielded"] * DRAINS + ["done"]
    checker.check()


def test_f34_a_trainer_is_killed_two_seconds_after_its_termination_began(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    job = scenario.create_job(
        scenario.upload_file(step_seconds=0.4, later_step_seconds=0, ignore_stop=True), epochs=20
    )
    scenario.wait_for_step(job, 5)
    stored_step = "SELECT max(step) FROM checkpoints WHERE job_id = :id"
    scenario.wait_until("an epoch is stored", lambda: scenario.query_value(stored_step, id=job))
    scenario["trainer-1"].terminate()
    time.sleep(2)
    step = scenario.last_step(job)
    scenario["trainer-1"].kill()
    # An epoch has 3 steps: no more are repeated than one epoch and a checkpoint on its way.
    assert scenario.query_value(stored_step, id=job) >= step - 6
    scenario.start("trainer-2")
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert outcomes(scenario, job) == ["lost", "done"]
    checker.check()


@pytest.mark.parametrize("leases", [0.4, 2])
def test_f35_a_trainer_is_cut_off_from_the_database_alone(
    scenario: Scenario, checker: InvariantChecker, leases: float
) -> None:
    """2 and 20 minutes become 0.4 and 2 leases of 10 s."""
    scenario.start("api-1", "trainer-1", "io-1", "trainer-2", lease_seconds=10)
    scenario["trainer-2"].database.black_hole()
    job = scenario.create_job(
        scenario.upload_file(step_seconds=0.3, later_step_seconds=0), epochs=20
    )
    scenario.wait_for_step(job, 3)
    scenario["trainer-1"].database.black_hole()
    scenario["trainer-2"].database.heal()
    time.sleep(leases * 10)
    scenario["trainer-1"].database.heal()
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert outcomes(scenario, job) == (["done"] if leases < 1 else ["lost", "done"])
    checker.check()


def test_f35_a_trainer_without_database_ends_its_training(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    """Scaled: the outage timeout of 15 minutes becomes one lease."""
    scenario.start("api-1", "io-1")
    scenario.start("trainer-1", database_outage_timeout_seconds=LEASE_SECONDS)
    job = scenario.create_job(
        scenario.upload_file(step_seconds=0.3, later_step_seconds=0), epochs=40
    )
    scenario.wait_for_step(job, 3)
    scenario["trainer-1"].database.refuse()
    scenario.wait_until(
        "its training has ended", lambda: not scenario["trainer-1"].training_processes()
    )
    assert scenario.job_state(job) not in TERMINAL
    scenario["trainer-1"].database.heal()
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert outcomes(scenario, job) == ["lost", "done"]
    checker.check()


def test_f36_a_trainer_is_cut_off_from_everything(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    job = scenario.create_job(
        scenario.upload_file(step_seconds=0.3, later_step_seconds=0.05), epochs=40
    )
    scenario.wait_for_step(job, 3)
    for proxy in scenario["trainer-1"].proxies:
        proxy.black_hole()
    scenario.start("trainer-2")
    scenario.wait_until("another trainer has it", lambda: len(scenario.attempts(job)) == 2)
    scenario.wait_for_step(job, 6)
    for proxy in scenario["trainer-1"].proxies:
        proxy.heal()
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert outcomes(scenario, job) == ["lost", "done"]
    checker.check()


@pytest.fixture
def clock(tmp_path: Path) -> dict[str, str]:
    """Environment of a process whose time of day `set_clock` shifts."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler is installed to build the wrong clock")
    library = tmp_path / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


def set_clock(path: Path, hours: float) -> None:
    path.write_bytes(int(hours * 3600).to_bytes(8, "little", signed=True))


def test_f37_clocks_are_hours_apart_and_jump(
    scenario: Scenario, checker: InvariantChecker, clock: dict[str, str], tmp_path: Path
) -> None:
    file = scenario.home / "nothing"
    for name, hours in (("io-1", -2), ("trainer-1", 2), ("api-1", -2)):
        file = tmp_path / f"{name}.clock"
        set_clock(file, hours)
        scenario.start(name, environment={**clock, "CLOCK_FILE": str(file)})
    job = scenario.create_job(scenario.upload_file(step_seconds=0.3), epochs=5)
    scenario.wait_for_step(job, 4)
    set_clock(tmp_path / "trainer-1.clock", -2)
    set_clock(tmp_path / "io-1.clock", 2)
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert outcomes(scenario, job) == ["done"]
    timestamps = "SELECT created_at FROM job_events WHERE job_id = :id ORDER BY seq"
    created_at = [row.created_at for row in scenario.query(timestamps, id=job)]
    assert created_at == sorted(created_at)
    assert scenario.query_value("SELECT max(created_at) <= clock_timestamp() FROM job_events")
    assert '"timestamp": "' in scenario["io-1"].log
    checker.check()


@pytest.mark.fault_smoke
def test_f38_a_job_that_always_crashes_fails_alone(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1", lease_seconds=60)
    poison = scenario.create_job(scenario.upload_file(segfault_at=2))
    good = scenario.upload_file(step_seconds=0)
    jobs = [scenario.create_job(good) for _ in range(2)]
    assert scenario.wait_for_jobs(poison, *jobs) == ["failed", "succeeded", "succeeded"]
    assert outcomes(scenario, poison) == ["crashed", "crashed", "failed"]
    error = scenario.query("SELECT error_code, error_message FROM jobs WHERE id = :id", id=poison)[
        0
    ]
    assert error.error_code == "worker_crashed_repeatedly"
    assert "SIGSEGV" in error.error_message
    checker.check()


def test_f39_a_trainer_survives_out_of_memory_in_training(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    """One training process is killed, another fails with code 1; both jobs are retried."""
    scenario.start("api-1", "trainer-1", "io-1")
    job = scenario.create_job(scenario.upload_file(step_seconds=0.3))
    scenario.wait_for_step(job, 2)
    os.kill(scenario["trainer-1"].training_processes()[0].pid, signal.SIGKILL)
    other = scenario.create_job(scenario.upload_file(exit_at=[3, 1]))
    assert scenario.wait_for_jobs(job, other) == ["succeeded", "succeeded"]
    assert outcomes(scenario, job) == outcomes(scenario, other) == ["crashed", "done"]
    trainers = scenario.query("SELECT DISTINCT trainer FROM job_attempts")
    assert len(trainers) == 1, "the trainer did not survive"
    checker.check()


@pytest.mark.parametrize("step", [1, 20])
def test_f40_device_memory_runs_out(
    scenario: Scenario, checker: InvariantChecker, step: int
) -> None:
    """At the first step, and later on a longer batch. Two rows of a batch of 8 fit in memory."""
    scenario.start("api-1", "trainer-1", "io-1")
    job = scenario.create_job(
        scenario.upload_file(rows=16, max_micro_batch=2, oom_at=step, step_seconds=0),
        batch_size=8,
        epochs=12,
    )
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert scenario.query_value("SELECT micro_batch_size FROM jobs WHERE id = :id", id=job) == 2
    assert outcomes(scenario, job) == ["crashed", "crashed", "done"]
    assert scenario.query_value("SELECT no_progress_attempts FROM jobs WHERE id = :id", id=job) == 0
    checker.check()


def test_f41_training_hangs(scenario: Scenario, checker: InvariantChecker) -> None:
    """The stall timeout of 10 minutes becomes 3 s."""
    scenario.start("api-1", "io-1")
    scenario.start("trainer-1", training_stall_timeout_seconds=3)
    job = scenario.create_job(scenario.upload_file(hang_at=5))
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert outcomes(scenario, job) == ["crashed", "done"]
    assert (
        scenario.query_value(
            "SELECT count(*) FROM job_events WHERE message LIKE '%stopped making progress%'"
        )
        == 1
    )
    stacks = [path.read_text() for path in scenario["trainer-1"].settings.home.rglob("*.log")]
    assert any("_sleep_forever" in text for text in stacks), "no log shows where it hung"
    checker.check()


@pytest.mark.timeout(900)
def test_f42_owners_act_on_their_jobs_a_thousand_times_at_any_moment(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    """The owners of a hundred jobs act ten times each, at random with a seed per job.

    The moments are not seeded: an action may come before validation, during a checkpoint or after
    the end.
    """
    scenario.start("api-1", "trainer-1", "io-1", trainer_concurrency=4)

    def act_as_owner(seed: int) -> str:
        rng = random.Random(seed)
        file = scenario.upload_file(step_seconds=0.05)
        job = scenario.create_job(file, epochs=2)
        for _ in range(10):
            time.sleep(rng.uniform(0, 0.6))
            act_at_random(scenario, job, file, rng.choices(ACTIONS, WEIGHTS)[0])
        while scenario.job_state(job) not in TERMINAL:
            scenario.post_job_action("resume", job)
            scenario.skip_backoff()
            time.sleep(0.5)
        return job

    with ThreadPoolExecutor(8) as owners:
        jobs = list(owners.map(act_as_owner, range(100)))
    ends = Counter(scenario.job_state(job) for job in jobs)
    assert ends.keys() <= {"succeeded", "cancelled"}
    # The weights must neither cancel nearly all jobs nor nearly none.
    assert min(ends.values()) >= 10, ends
    checker.check()


ACTIONS = ("pause", "resume", "cancel", "delete")
WEIGHTS = (12, 16, 1, 2)


def act_at_random(scenario: Scenario, job: str, file: str, action: str) -> None:
    if action == "delete":
        response = scenario.request("DELETE", f"/v1/files/{file}")
    else:
        response = scenario.post_job_action(action, job)
    # 409 and 404: the file is in use, or already deleted.
    assert response.status_code in (200, 400, 404, 409), f"{action}: {response.text}"


def test_f42_a_cancelled_job_frees_its_slot(
    scenario: Scenario, checker: InvariantChecker, measurements: Measurements
) -> None:
    """With production's heartbeat, by which a trainer learns of a cancellation."""
    scenario.start("api-1", "io-1")
    scenario.start(
        "trainer-1", heartbeat_interval_seconds=10, lease_seconds=60, trainer_concurrency=3
    )
    file = scenario.upload_file(step_seconds=0.2)
    for _ in range(CANCELS // 3):
        jobs = [scenario.create_job(file, epochs=50) for _ in range(3)]
        for job in jobs:
            scenario.wait_until("it trains", partial(is_training, scenario, job))
        for job in jobs:
            scenario.post_job_action("cancel", job)
            seconds = scenario.wait_until(
                "the slot is free", lambda job=job: not is_training(scenario, job)
            )
            measurements.add("from cancel to a free slot", seconds, at_most=15)
    checker.check()


def is_training(scenario: Scenario, job: str) -> bool:
    lines = [process.cmdline() for process in scenario["trainer-1"].training_processes()]
    return any(f"/runs/{job}-attempt-" in word for line in lines for word in line)


def test_f43_every_process_is_upgraded_while_jobs_run(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    """The schema grows under load, then each process is replaced by a new one."""
    scenario.start("api-1", "trainer-1", "io-1", trainer_concurrency=2)
    file = scenario.upload_file(step_seconds=0.2)
    jobs = [scenario.create_job(file, epochs=6) for _ in range(3)]
    scenario.wait_for_step(jobs[0], 2)
    scenario.query("ALTER TABLE jobs ADD COLUMN of_the_next_version text")
    scenario.query("CREATE INDEX CONCURRENTLY ON jobs (of_the_next_version)")
    with ThreadPoolExecutor(1) as clients:
        statuses = clients.submit(poll_until_both_ended, scenario, jobs[0])
        for kind in ("io", "trainer", "api"):
            scenario.start(f"{kind}-2", trainer_concurrency=2)
            scenario[f"{kind}-1"].terminate()
            # uvicorn finishes its requests, then dies of the signal it received.
            assert scenario[f"{kind}-1"].wait() in (0, -signal.SIGTERM)
        jobs.append(create_job_at(scenario, "api-2", file))
        assert set(scenario.wait_for_jobs(*jobs, seconds=120)) == {"succeeded"}
        scenario["api-2"].terminate()
        scenario["api-2"].wait()
        assert statuses.result(30) <= {200, 503}
    assert "lost" not in {outcome for job in jobs for outcome in outcomes(scenario, job)}
    checker.check()


def create_job_at(scenario: Scenario, api: str, file: str) -> str:
    response = scenario.request("POST", "/v1/fine_tuning/jobs", api=api, json=job_body(file))
    assert response.status_code == 200, response.text
    job: str = response.json()["id"]
    scenario.record_job(job)
    return job


def poll_until_both_ended(scenario: Scenario, job: str) -> set[int]:
    """Statuses received by a client that fails over when an API refuses connections."""
    statuses = set()
    while scenario["api-1"].process.poll() is None or scenario["api-2"].process.poll() is None:
        for name in ("api-1", "api-2"):
            try:
                path = f"/v1/fine_tuning/jobs/{job}"
                statuses.add(scenario.request_once("GET", path, api=name).status_code)
            except (httpx.ConnectError, KeyError):
                # Not running; but every accepted connection must get a response.
                time.sleep(0.05)
    return statuses
