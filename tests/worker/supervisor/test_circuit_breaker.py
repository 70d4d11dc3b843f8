"""A trainer that kills one job after the other stops before it has killed all."""

import pytest
from sqlalchemy import func, select

from app.db.session import transaction
from app.db.tables import JobAttempt
from app.operations import trainers
from tests.worker.supervisor.fake_trainer import TrainerFixture
from worker.rundir import ExitCode
from worker.supervisor.circuit_breaker import CircuitBreaker
from worker.supervisor.job_runner import JobRunner

KILLED = -9
ATTEMPTS = select(func.count()).select_from(JobAttempt)


@pytest.fixture
def fitness() -> CircuitBreaker:
    return CircuitBreaker(cooldown_seconds=3600)


def test_three_different_jobs_and_no_fewer(fitness: CircuitBreaker) -> None:
    for job in ("a", "b", "a", "b"):
        fitness.record(job, "crashed", KILLED)
    fitness.record("a", "failed", KILLED)
    assert not fitness.is_open
    fitness.record("c", "crashed", None)
    assert fitness.is_open


def test_a_success_in_between_begins_anew(fitness: CircuitBreaker) -> None:
    for job in ("a", "b"):
        fitness.record(job, "crashed", KILLED)
    fitness.record("good", "done", 0)
    for job in ("c", "d"):
        fitness.record(job, "crashed", KILLED)
    assert not fitness.is_open


@pytest.mark.parametrize(
    ("outcome", "exit_code"),
    [
        ("failed", ExitCode.USER_ERROR),
        ("failed", ExitCode.LOSS_NOT_FINITE),
        ("failed", None),
        ("crashed", ExitCode.OUT_OF_DEVICE_MEMORY),
        ("yielded", ExitCode.YIELDED),
        ("postponed", None),
        ("cancelled", None),
    ],
)
def test_what_is_no_trainers_fault_does_not_count(
    fitness: CircuitBreaker, outcome: str, exit_code: int | None
) -> None:
    for job in ("a", "b", "c", "d"):
        fitness.record(job, outcome, exit_code)
    assert not fitness.is_open


def test_after_its_rest_one_more_crash_is_enough() -> None:
    rested = CircuitBreaker(cooldown_seconds=0)
    for job in ("a", "b", "c"):
        rested.record(job, "crashed", KILLED)
    assert not rested.is_open


def test_a_trainer_that_killed_three_jobs_leaves_the_rest_to_others(shop: TrainerFixture) -> None:
    jobs = [shop.create_job(ending="killed", at=1) for _ in range(5)]
    shop.runner.run_queued()
    with transaction(shop.sessions) as session:
        tried = session.scalar(ATTEMPTS)
        told = trainers.health_problem(session, heartbeat_seconds=10)
    assert tried == 3
    assert [shop.get_job(job).state for job in jobs] == ["queued"] * 5
    assert told is not None
    # Another trainer, or this one when it was started again, goes on at once.
    JobRunner(shop.context).run_next()
    with transaction(shop.sessions) as session:
        assert session.scalar(ATTEMPTS) == 4
