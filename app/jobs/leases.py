"""Leases: a trainer acquires a queued job, and keeps it with heartbeats.

Each acquisition gives the job's lease to one trainer for a limited time and increases the job's
attempt number. That number is the fencing token: every write of a trainer names the attempt it
belongs to, and a write of an earlier attempt fails (`LeaseLost`), so a trainer that was wrongly
presumed dead cannot interfere with its successor. A heartbeat renews the lease and returns a
directive.

All times are read from the database's clock, so no machine's clock can end or prolong a lease.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import (
    TERMINAL_STATES,
    AttemptOutcome,
    File,
    FineTunedModel,
    Job,
    JobAttempt,
    JobLease,
    JobState,
)
from app.jobs import checkpoints, engine_comparison, events, scheduling, states, test_answers
from app.jobs.events import NewEvent
from app.jobs.test_answers import StoredAnswer

STARTED_EVENT = NewEvent("started", "Fine-tuning job started", data=None)
# Tries to acquire a job that other trainers compete for, before waiting for the next notification.
MAX_ACQUIRE_TRIES = 5


class TrainerDirective(StrEnum):
    """Instruction to a trainer for the job it holds."""

    CONTINUE = "continue"
    PAUSE = "pause"
    # Its time slice is used up, and jobs of other projects wait.
    YIELD = "yield"
    CANCEL = "cancel"
    LEASE_LOST = "lease_lost"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the store and the checksum of its bytes."""

    file_id: str
    key: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """A checkpoint in the store that training can resume from."""

    step: int
    prefix: str
    manifest_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAssignment:
    """Everything a trainer needs to know about a job it has acquired.

    `attempt` is the fencing token of this acquisition.
    """

    job_id: str
    attempt: int
    project_id: str
    base_model: str
    method: str
    hyperparameters: dict[str, Any]
    seed: int
    micro_batch_size: int | None
    # Time that trainers held the job in earlier attempts.
    trained_seconds: float
    training_file: StoredFile
    validation_file: StoredFile | None
    test_file: StoredFile | None = None
    test_metrics: tuple[str, ...] = ()
    # Answers to rows of the test file, of earlier attempts.
    test_answers: tuple[StoredAnswer, ...] = ()
    # As requested by the job's owner.
    integrations: tuple[dict[str, Any], ...]
    # The fine-tuned model to continue from, and its prefix in the store unless it was deleted.
    start_model: str | None
    start_model_prefix: str | None
    created_at: datetime
    # False if an earlier attempt was lost while it compared the model with the engine.
    compare_with_engine: bool = True
    # Newest first.
    resume_points: tuple[ResumePoint, ...]


def acquire(
    session: Session, trainer: str, *, lease_seconds: float, max_running: int = 0
) -> JobAssignment | None:
    """Acquire the next due job for a trainer; None if no job may run now.

    A project may have `max_running` running jobs unless it has its own quota; 0 is unlimited.
    """
    job = _acquire_next_job(session, max_running)
    if job is None:
        return None
    until = clock.seconds_from_now(lease_seconds)
    session.add(JobLease(job_id=job.id, attempt=job.attempt, trainer=trainer, lease_until=until))
    assignment = _build_assignment(session, job)
    points = assignment.resume_points
    session.add(
        JobAttempt(
            job_id=job.id,
            attempt=job.attempt,
            trainer=trainer,
            resumed_step=points[0].step if points else 0,
        )
    )
    events.append(session, job, [STARTED_EVENT])
    return assignment


def _acquire_next_job(session: Session, max_running: int) -> Job | None:
    for _ in range(MAX_ACQUIRE_TRIES):
        savepoint = session.begin_nested()
        project_id = scheduling.lock_next_project(session, max_running=max_running)
        if project_id is None:
            return None
        job = states.transition(
            session,
            scheduling.select_next_job(project_id, max_running=max_running),
            to=JobState.RUNNING,
            attempt=Job.attempt + 1,
            started_at=func.coalesce(Job.started_at, func.clock_timestamp()),
        )
        if job is not None:
            scheduling.mark_served(session, project_id)
            return job
        # Another trainer acquired the job first. Release the project's lock: two trainers that each
        # held one while waiting for the other's would deadlock.
        savepoint.rollback()
    return None


def _build_assignment(session: Session, job: Job) -> JobAssignment:
    validation_id = job.validation_file_id
    return JobAssignment(
        job_id=job.id,
        attempt=job.attempt,
        project_id=job.project_id,
        base_model=job.base_model,
        method=job.method,
        hyperparameters=_merge_resolved_hyperparameters(job),
        seed=job.seed,
        micro_batch_size=job.micro_batch_size,
        trained_seconds=job.trained_seconds,
        training_file=_get_stored_file(session, job.training_file_id),
        validation_file=None if validation_id is None else _get_stored_file(session, validation_id),
        test_file=None if job.test_file_id is None else _get_stored_file(session, job.test_file_id),
        test_metrics=tuple(job.test_metrics),
        test_answers=tuple(test_answers.list_all(session, job.id)),
        integrations=tuple(job.integrations),
        created_at=job.created_at,
        compare_with_engine=not engine_comparison.was_fatal(session, job.id),
        start_model=job.start_model,
        start_model_prefix=_find_start_model_prefix(session, job),
        resume_points=tuple(
            ResumePoint(row.step, row.storage_prefix, row.manifest_sha256)
            for row in checkpoints.list_resumable(session, job.id)
        ),
    )


def _merge_resolved_hyperparameters(job: Job) -> dict[str, Any]:
    """Replace each "auto" with the value that an earlier attempt has chosen, if any.

    Also those that the job does not show because its owner left them out: a newer version may
    choose other values for a new job, but not for one that has begun.
    """
    return {**job.hyperparameters, **(job.resolved_hyperparameters or {})}


def _get_stored_file(session: Session, file_id: str) -> StoredFile:
    file = session.get_one(File, file_id)
    return StoredFile(file.id, file.storage_key, file.sha256)


def _find_start_model_prefix(session: Session, job: Job) -> str | None:
    if job.start_model is None:
        return None
    model = session.get(FineTunedModel, job.start_model)
    return None if model is None or model.deleted_at is not None else model.storage_prefix


def heartbeat(
    session: Session, job_id: str, attempt: int, *, step: int, lease_seconds: float
) -> TrainerDirective:
    """Renew the lease and return the trainer's directive.

    Renews an expired lease too: while the attempt is the same, no other trainer has had the job.
    """
    session.execute(
        update(JobLease)
        .where(JobLease.job_id == job_id, JobLease.attempt == attempt)
        .values(
            lease_until=clock.seconds_from_now(lease_seconds),
            heartbeat_at=func.clock_timestamp(),
            step=step,
        )
    )
    return get_directive(session, job_id, attempt)


def get_directive(session: Session, job_id: str, attempt: int) -> TrainerDirective:
    """Get the directive for an attempt without renewing its lease."""
    statement = (
        select(Job.state, Job.attempt, JobLease.yield_requested_at)
        .outerjoin(JobLease, JobLease.job_id == Job.id)
        .where(Job.id == job_id)
    )
    row = session.execute(statement).one_or_none()
    if row is None:
        return TrainerDirective.LEASE_LOST
    if row.state == JobState.CANCELLED:
        return TrainerDirective.CANCEL
    if row.attempt != attempt or row.state not in states.HELD_STATES:
        return TrainerDirective.LEASE_LOST
    if row.state == JobState.PAUSING:
        return TrainerDirective.PAUSE
    is_running = row.state == JobState.RUNNING
    if is_running and row.yield_requested_at is not None:
        return TrainerDirective.YIELD
    return TrainerDirective.CONTINUE


def get_outcome(
    session: Session, job_id: str, attempt: int
) -> tuple[AttemptOutcome, int | None] | None:
    """Get the outcome and the exit code of an attempt; None while it is open."""
    row = session.get(JobAttempt, (job_id, attempt), populate_existing=True)
    if row is None or row.outcome is None:
        return None
    return row.outcome, row.exit_code


def list_unfinished(session: Session, job_ids: Sequence[str]) -> set[str]:
    """List those of the jobs that may be attempted again."""
    unfinished = Job.state.not_in(TERMINAL_STATES)
    return set(session.scalars(select(Job.id).where(Job.id.in_(job_ids), unfinished)))


def is_owner(session: Session, job_id: str, attempt: int) -> bool:
    """True while the attempt owns its job."""
    return get_directive(session, job_id, attempt) in (
        TrainerDirective.CONTINUE,
        TrainerDirective.PAUSE,
        TrainerDirective.YIELD,
    )
