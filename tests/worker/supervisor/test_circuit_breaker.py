"""A trainer that kills one job after the other stops before it has killed all."""

import pytest
from sqlalchemy import func, select

from app.db.session import transaction
from app.db.tables import JobAttempt
from app.operations import trainers
from tests.worker.supervisor.fake_trainer import Workshop
from worker.rundir import Exit
from worker.supervisor.circuit_breaker import Fitness
from worker.supervisor.job_runner import Supervisor

KILLED = -9
ATTEMPTS = select(func.count()).select_from(JobAttempt)


@pytest.fixture
def fitness() -> Fitness:
    return Fitness(rest_seconds=3600)


def test_three_different_jobs_and_no_fewer(fitness: Fitness) -> None:
    for job in ("a", "b", "a", "b"):
        fitness.note(job, "crashed", KILLED)
    fitness.note("a", "failed", KILLED)
    assert not fitness.is_resting
    fitness.note("c", "crashed", None)
    assert fitness.is_resting


def test_a_success_in_between_begins_anew(fitness: Fitness) -> None:
    for job in ("a", "b"):
        fitness.note(job, "crashed", KILLED)
    fitness.note("good", "done", 0)
    for job in ("c", "d"):
        fitness.note(job, "crashed", KILLED)
    assert not fitness.is_resting


@pytest.mark.parametrize(
    ("outcome", "exit_code"),
    [
        ("failed", Exit.USER_ERROR),
        ("failed", Exit.LOSS_NOT_FINITE),
        ("failed", None),
        ("crashed", Exit.OUT_OF_DEVICE_MEMORY),
        ("yielded", Exit.YIELDED),
        ("postponed", None),
        ("cancelled", None),
    ],
)
def test_what_is_no_trainers_fault_does_not_count(
    fitness: Fitness, outcome: str, exit_code: int | None
) -> None:
    for job in ("a", "b", "c", "d"):
        fitness.note(job, outcome, exit_code)
    assert not fitness.is_resting


def test_after_its_rest_one_more_crash_is_enough() -> None:
    rested = Fitness(rest_seconds=0)
    for job in ("a", "b", "c"):
        rested.note(job, "crashed", KILLED)
    assert not rested.is_resting


def test_a_trainer_that_killed_three_jobs_leaves_the_rest_to_others(shop: Workshop) -> None:
    jobs = [shop.order(ending="killed", at=1) for _ in range(5)]
    shop.supervisor.run_queued()
    with transaction(shop.sessions) as session:
        tried = session.scalar(ATTEMPTS)
        told = trainers.trouble(session, heartbeat_seconds=10)
    assert tried == 3
    assert [shop.job(job).state for job in jobs] == ["queued"] * 5
    assert told is not None
    # Another trainer, or this one when it was started again, goes on at once.
    Supervisor(shop.machine).run_next()
    with transaction(shop.sessions) as session:
        assert session.scalar(ATTEMPTS) == 4
