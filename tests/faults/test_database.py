"""Postgres restarts, is away, forgets to answer, refuses. A lease of 6 s stands for one of 60 s."""

import signal
import time

import httpx
import psycopg
import pytest

from tests.faults.checker import Checker
from tests.faults.measurements import Figures
from tests.faults.scenario import LEASE_SECONDS, World

# Each tenth change of these tables fails as it would between two transactions that collide.
COLLISIONS = """
CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.1 THEN
        RAISE EXCEPTION 'injected' USING ERRCODE = CASE WHEN random() < 0.5
            THEN 'serialization_failure' ELSE 'deadlock_detected' END;
    END IF;
    RETURN COALESCE(NEW, OLD);
END
$$
"""
COLLIDING = ("jobs", "job_leases", "job_events", "checkpoints", "outbox", "files")


@pytest.mark.fault_smoke
def test_f20_postgres_restarts_without_warning_in_the_middle_of_everything(
    world: World, checker: Checker
) -> None:
    # A lease that is not scaled: a machine that stands still for seconds ends none by itself.
    world.start("api-1", "trainer-1", "io-1", trainer_concurrency=2, lease_seconds=60)
    file = world.upload(pace=0.2)
    jobs = [world.create(file, passes=4) for _ in range(3)]
    world.reaches(jobs[0], 3)
    world.ground.postgres.restart(how=signal.SIGQUIT)
    jobs.append(world.create(file))
    assert set(world.finish(*jobs)) == {"succeeded"}
    assert [world.attempts(job) for job in jobs] == [[(1, "done")]] * 4, "a lease was ended early"
    checker.check()


def test_f21_training_goes_on_while_postgres_is_away(
    world: World, checker: Checker, figures: Figures
) -> None:
    """5 minutes become three leases."""
    world.start("api-1", "trainer-1", "io-1")
    job = world.create(world.upload(pace=0.3), passes=20)
    world.reaches(job, 3)
    before = world.step(job)
    world.ground.postgres.kill()
    refused = refusals(world, job, seconds=3 * LEASE_SECONDS)
    world.ground.postgres.restart()
    after = world.reaches(job, before + 20, seconds=10)
    assert after < 10, "it did not train while Postgres was away"
    figures.add("a refusal while Postgres is away", *refused, at_most=5)
    assert world.finish(job, seconds=90) == ["succeeded"]
    assert world.attempts(job) == [(1, "done")]
    checker.check()


def refusals(world: World, job: str, *, seconds: float) -> list[float]:
    """How long the API took to say that it cannot answer, again and again."""
    taken = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        answer = world.once("GET", f"/v1/fine_tuning/jobs/{job}")
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        taken.append(time.monotonic() - began)
        time.sleep(0.3)
    assert world.once("GET", "/healthz").status_code == 200
    return taken


def test_f22_commits_happen_but_their_answers_are_lost(world: World, checker: Checker) -> None:
    world.start("api-1", "trainer-1", "io-1", trainer_concurrency=2)
    file = world.upload(pace=0.1)
    for name in ("trainer-1", "io-1"):
        world[name].database.cut_commits = 0.15
    jobs = [world.create(file) for _ in range(4)]
    assert set(world.finish(*jobs, seconds=120)) == {"succeeded"}
    cut = sum(world[name].database.commits_cut for name in ("trainer-1", "io-1"))
    assert cut >= 5, "too few answers were cut off to say anything"
    for machine in world.machines.values():
        machine.database.heal()
    checker.check()


def test_f22_the_answer_to_a_new_job_is_lost(world: World, checker: Checker) -> None:
    """The client tries again, as the SDKs do, and there is one job."""
    world.start("api-1", "trainer-1", "io-1")
    file = world.upload()
    way = world["api-1"].database
    trap = way.trap(b"COMMIT\0", b"COMMIT\0", after=b"INSERT INTO jobs")
    trap.spring()
    job = world.create(file)
    assert trap.reached.is_set()
    assert world.value("SELECT count(*) FROM jobs") == 1
    assert world.finish(job) == ["succeeded"]
    checker.check()


def test_f23_a_tenth_of_all_changes_collides(world: World, checker: Checker) -> None:
    world.start("api-1", "trainer-1", "io-1")
    file = world.upload(pace=0.1)
    world.rows(COLLISIONS)
    for table in COLLIDING:
        world.rows(
            f"CREATE TRIGGER collide BEFORE INSERT OR UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION collide()"
        )
    jobs = [world.create(file) for _ in range(3)]
    assert set(world.finish(*jobs, seconds=150)) == {"succeeded"}
    for table in COLLIDING:
        world.rows(f"DROP TRIGGER collide ON {table}")
    checker.check()


def test_f24_postgres_takes_no_more_connections(world: World, checker: Checker) -> None:
    world.start("api-1", "trainer-1", "io-1")
    job = world.create(world.upload(pace=0.5), passes=4)
    world.reaches(job, 2)
    held = exhaust(world)
    try:
        answer, seconds = timed(world, job)
        if answer.status_code == 200:
            # The API was faster than we in taking a connection that had just been cut.
            held += exhaust(world)
            answer, seconds = timed(world, job)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert seconds < 5
    finally:
        for connection in held:
            connection.close()
    assert world.finish(job) == ["succeeded"]
    assert world.attempts(job) == [(1, "done")]
    checker.check()


def exhaust(world: World) -> list["psycopg.Connection[tuple[object, ...]]"]:
    """Take every connection there is, also those that the processes had."""
    held: list[psycopg.Connection[tuple[object, ...]]] = []
    for _ in range(300):
        try:
            held.append(psycopg.connect(world.url.replace("+psycopg", "")))
        except psycopg.OperationalError:
            for machine in world.machines.values():
                machine.database.cut()
            if connects_no_more(world, held):
                return held
    raise AssertionError("Postgres takes any number of connections")


def connects_no_more(world: World, held: list["psycopg.Connection[tuple[object, ...]]"]) -> bool:
    """Whether there is none left after a moment in which the cut ones were given back."""
    time.sleep(0.2)
    try:
        held.append(psycopg.connect(world.url))
    except psycopg.OperationalError:
        return True
    return False


def timed(world: World, job: str) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    answer = world.once("GET", f"/v1/fine_tuning/jobs/{job}")
    return answer, time.monotonic() - began
