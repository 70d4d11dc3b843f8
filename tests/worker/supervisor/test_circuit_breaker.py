"""The circuit breaker: a trainer on which different jobs crash stops taking jobs."""

import signal

import pytest
from sqlalchemy import func, select

from app.db.session import transaction
from app.db.tables import AttemptOutcome, JobAttempt
from app.jobs import trainers
from tests.worker.supervisor.fake_trainer import TrainerFixture
from worker.run_folder import ExitCode
from worker.supervisor.circuit_breaker import CircuitBreaker
from worker.supervisor.job_runner import JobRunner

SIGKILL_EXIT = -signal.SIGKILL
ATTEMPTS = select(func.count()).select_from(JobAttempt)


@pytest.fixture
def breaker() -> CircuitBreaker:
    return CircuitBreaker(cooldown_seconds=3600)


def test_three_different_crashed_jobs_open_it(breaker: CircuitBreaker) -> None:
    for job in ("a", "b", "a", "b"):
        breaker.record(job, AttemptOutcome.CRASHED, SIGKILL_EXIT)
    breaker.record("a", AttemptOutcome.FAILED, SIGKILL_EXIT)
    assert not breaker.is_open
    breaker.record("c", AttemptOutcome.CRASHED, None)
    assert breaker.is_open


def test_a_success_resets_it(breaker: CircuitBreaker) -> None:
    for job in ("a", "b"):
        breaker.record(job, AttemptOutcome.CRASHED, SIGKILL_EXIT)
    breaker.record("good", AttemptOutcome.DONE, 0)
    for job in ("c", "d"):
        breaker.record(job, AttemptOutcome.CRASHED, SIGKILL_EXIT)
    assert not breaker.is_open


@pytest.mark.parametrize(
    ("outcome", "exit_code"),
    [
        (AttemptOutcome.FAILED, ExitCode.USER_ERROR),
        (AttemptOutcome.FAILED, ExitCode.LOSS_NOT_FINITE),
        (AttemptOutcome.FAILED, None),
        (AttemptOutcome.CRASHED, ExitCode.OUT_OF_DEVICE_MEMORY),
        (AttemptOutcome.YIELDED, ExitCode.YIELDED),
        (AttemptOutcome.POSTPONED, None),
        (AttemptOutcome.CANCELLED, None),
    ],
)
def test_outcomes_caused_by_the_job_do_not_count(
    breaker: CircuitBreaker, outcome: AttemptOutcome, exit_code: int | None
) -> None:
    for job in ("a", "b", "c", "d"):
        breaker.record(job, outcome, exit_code)
    assert not breaker.is_open


def test_it_closes_after_the_cooldown() -> None:
    breaker = CircuitBreaker(cooldown_seconds=0)
    for job in ("a", "b", "c"):
        breaker.record(job, AttemptOutcome.CRASHED, SIGKILL_EXIT)
    assert not breaker.is_open


def test_a_trainer_takes_no_jobs_after_three_crashed(trainer: TrainerFixture) -> None:
    jobs = [trainer.create_job(fault="kill", at_step=1) for _ in range(5)]
    trainer.runner.run_queued()
    with transaction(trainer.sessions) as session:
        num_attempts = session.scalar(ATTEMPTS)
        problem = trainers.find_health_problem(session, heartbeat_seconds=10)
    assert num_attempts == 3
    assert [trainer.get_job(job).state for job in jobs] == ["queued"] * 5
    assert problem is not None
    # Another trainer, or this one after a restart, continues at once.
    JobRunner(trainer.context).run_next()
    with transaction(trainer.sessions) as session:
        assert session.scalar(ATTEMPTS) == 4
