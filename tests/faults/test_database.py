"""Postgres restarts, is down, loses responses or refuses connections.

A lease of 6 s stands for one of 60 s.
"""

import signal
import time

import httpx
import psycopg
import pytest

from tests.faults.checker import InvariantChecker
from tests.faults.measurements import Measurements
from tests.faults.node import LEASE_SECONDS
from tests.faults.scenario import Scenario

# Fails a tenth of all writes as a conflict between two transactions would.
CREATE_CONFLICTS = """
CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.1 THEN
        RAISE EXCEPTION 'injected' USING ERRCODE = CASE WHEN random() < 0.5
            THEN 'serialization_failure' ELSE 'deadlock_detected' END;
    END IF;
    RETURN COALESCE(NEW, OLD);
END
$$
"""
TABLES_WITH_CONFLICTS = ("jobs", "job_leases", "job_events", "checkpoints", "outbox", "files")


@pytest.mark.fault_smoke
def test_f20_postgres_restarts_without_warning_in_the_middle_of_everything(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    # The lease is not scaled: a test machine that stalls for seconds must not end it.
    scenario.start("api-1", "trainer-1", "io-1", trainer_concurrency=2, lease_seconds=60)
    file = scenario.upload_file(step_seconds=0.2)
    jobs = [scenario.create_job(file, epochs=4) for _ in range(3)]
    scenario.wait_for_step(jobs[0], 3)
    scenario.services.postgres.restart(stop_signal=signal.SIGQUIT)
    jobs.append(scenario.create_job(file))
    assert set(scenario.wait_for_jobs(*jobs)) == {"succeeded"}
    assert [scenario.attempts(job) for job in jobs] == [[(1, "done")]] * 4, (
        "a lease expired too early"
    )
    checker.check()


def test_f21_training_continues_while_postgres_is_down(
    scenario: Scenario, checker: InvariantChecker, measurements: Measurements
) -> None:
    """An outage of 5 minutes becomes three leases."""
    scenario.start("api-1", "trainer-1", "io-1")
    job = scenario.create_job(scenario.upload_file(step_seconds=0.3), epochs=20)
    scenario.wait_for_step(job, 3)
    before = scenario.last_step(job)
    scenario.services.postgres.kill()
    seconds_to_503 = measure_503s(scenario, job, seconds=3 * LEASE_SECONDS)
    scenario.services.postgres.restart()
    after = scenario.wait_for_step(job, before + 20, seconds=10)
    assert after < 10, "it did not train while Postgres was down"
    measurements.add("a 503 while Postgres is down", *seconds_to_503, at_most=5)
    assert scenario.wait_for_jobs(job, seconds=90) == ["succeeded"]
    assert scenario.attempts(job) == [(1, "done")]
    checker.check()


def measure_503s(scenario: Scenario, job: str, *, seconds: float) -> list[float]:
    """Seconds that the API took for each 503, in requests for some time."""
    latencies = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        began = time.monotonic()
        response = scenario.request_once("GET", f"/v1/fine_tuning/jobs/{job}")
        assert response.status_code == 503
        assert response.headers["retry-after"]
        latencies.append(time.monotonic() - began)
        time.sleep(0.3)
    assert scenario.request_once("GET", "/healthz").status_code == 200
    return latencies


def test_f22_commits_happen_but_their_responses_are_lost(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1", trainer_concurrency=2)
    file = scenario.upload_file(step_seconds=0.1)
    for name in ("trainer-1", "io-1"):
        scenario[name].database.lost_commit_ratio = 0.15
    jobs = [scenario.create_job(file) for _ in range(4)]
    assert set(scenario.wait_for_jobs(*jobs, seconds=120)) == {"succeeded"}
    lost = sum(scenario[name].database.commits_lost for name in ("trainer-1", "io-1"))
    assert lost >= 5, "too few responses were lost to prove anything"
    for node in scenario.nodes.values():
        node.database.heal()
    checker.check()


def test_f22_the_response_to_the_commit_of_a_new_job_is_lost(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    """The client retries, as the SDKs do, and one job exists."""
    scenario.start("api-1", "trainer-1", "io-1")
    file = scenario.upload_file()
    breakpoint_ = scenario["api-1"].database.add_breakpoint(
        b"COMMIT\0", b"COMMIT\0", after=b"INSERT INTO jobs"
    )
    breakpoint_.reset_connection()
    job = scenario.create_job(file)
    assert breakpoint_.hit.is_set()
    assert scenario.query_value("SELECT count(*) FROM jobs") == 1
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    checker.check()


def test_f23_a_tenth_of_all_writes_conflicts(scenario: Scenario, checker: InvariantChecker) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    file = scenario.upload_file(step_seconds=0.1)
    scenario.query(CREATE_CONFLICTS)
    for table in TABLES_WITH_CONFLICTS:
        scenario.query(
            f"CREATE TRIGGER conflict BEFORE INSERT OR UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION conflict()"
        )
    jobs = [scenario.create_job(file) for _ in range(3)]
    assert set(scenario.wait_for_jobs(*jobs, seconds=150)) == {"succeeded"}
    for table in TABLES_WITH_CONFLICTS:
        scenario.query(f"DROP TRIGGER conflict ON {table}")
    checker.check()


def test_f24_postgres_accepts_no_more_connections(
    scenario: Scenario, checker: InvariantChecker
) -> None:
    scenario.start("api-1", "trainer-1", "io-1")
    job = scenario.create_job(scenario.upload_file(step_seconds=0.5), epochs=4)
    scenario.wait_for_step(job, 2)
    held = exhaust_connections(scenario)
    try:
        response, seconds = timed_get(scenario, job)
        if response.status_code == 200:
            # The API was faster in taking a connection that had just been reset.
            held += exhaust_connections(scenario)
            response, seconds = timed_get(scenario, job)
        assert response.status_code == 503
        assert response.headers["retry-after"]
        assert seconds < 5
    finally:
        for connection in held:
            connection.close()
    assert scenario.wait_for_jobs(job) == ["succeeded"]
    assert scenario.attempts(job) == [(1, "done")]
    checker.check()


def exhaust_connections(scenario: Scenario) -> list["psycopg.Connection[tuple[object, ...]]"]:
    """Take every connection, including those that the processes had."""
    held: list[psycopg.Connection[tuple[object, ...]]] = []
    for _ in range(300):
        try:
            held.append(psycopg.connect(scenario.url.replace("+psycopg", "")))
        except psycopg.OperationalError:
            for node in scenario.nodes.values():
                node.database.reset_connections()
            if is_exhausted(scenario, held):
                return held
    raise AssertionError("Postgres accepts any number of connections")


def is_exhausted(scenario: Scenario, held: list["psycopg.Connection[tuple[object, ...]]"]) -> bool:
    """Whether no connection is left once Postgres has noticed the resets."""
    time.sleep(0.2)
    try:
        held.append(psycopg.connect(scenario.url))
    except psycopg.OperationalError:
        return True
    return False


def timed_get(scenario: Scenario, job: str) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    response = scenario.request_once("GET", f"/v1/fine_tuning/jobs/{job}")
    return response, time.monotonic() - began
