"""A worker's hold on a job: claimed and renewed.

All times are the database's: no machine's clock can end a lease early or keep one alive.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import File, FineTunedModel, Job, JobAttempt, JobLease
from app.jobs import checkpoints, events, scheduling, states
from app.jobs.events import NewEvent

STARTED_EVENT = NewEvent("started", "Fine-tuning job started", data=None)
# Of taking a job that other workers want too, before a worker goes back to waiting.
MAX_ACQUIRE_TRIES = 5


class WorkerDirective(StrEnum):
    """What a worker is to do with the job it holds."""

    CONTINUE = "go_on"
    PAUSE = "pause"
    CANCEL = "cancel"
    LEASE_LOST = "fenced"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the store and what its bytes must be."""

    file_id: str
    key: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """A checkpoint in the store that a job may continue from."""

    step: int
    prefix: str
    manifest_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAssignment:
    """All that a worker has to know of the job that it now holds."""

    job_id: str
    attempt: int
    project_id: str
    base_model: str
    method: str
    hyperparameters: dict[str, Any]
    seed: int
    micro_batch: int | None
    training_file: StoredFile
    validation_file: StoredFile | None
    # As the job's owner asked for them.
    integrations: tuple[dict[str, Any], ...]
    # What a continued training starts from, and its folder in the store if it is still there.
    start_model: str | None
    start_model_prefix: str | None
    # The newest first.
    resume_points: tuple[ResumePoint, ...]


def acquire(
    session: Session, worker: str, *, lease_seconds: float, max_running: int = 0
) -> JobAssignment | None:
    """Take the next queued job, if there is one that is due.

    A project has at most `max_running` jobs at work, or what its own limit says; 0 is no limit.
    """
    job = _acquire_next_job(session, max_running)
    if job is None:
        return None
    until = clock.seconds_from_now(lease_seconds)
    session.add(JobLease(job_id=job.id, epoch=job.epoch, worker=worker, lease_until=until))
    session.add(JobAttempt(job_id=job.id, epoch=job.epoch, worker=worker))
    events.append(session, job, [STARTED_EVENT])
    return _build_assignment(session, job)


def _acquire_next_job(session: Session, max_running: int) -> Job | None:
    for _ in range(MAX_ACQUIRE_TRIES):
        savepoint = session.begin_nested()
        project_id = scheduling.lock_next_project(session, max_running=max_running)
        if project_id is None:
            return None
        job = states.transition(
            session,
            scheduling.select_next_job(project_id, max_running=max_running),
            to="running",
            epoch=Job.epoch + 1,
            started_at=func.coalesce(Job.started_at, func.clock_timestamp()),
        )
        if job is not None:
            scheduling.mark_served(session, project_id)
            return job
        # Its job was taken meanwhile. This lets go of the project: two workers that each hold one
        # while they wait for another's would wait for ever.
        savepoint.rollback()
    return None


def _build_assignment(session: Session, job: Job) -> JobAssignment:
    checked = job.validation_file_id
    return JobAssignment(
        job_id=job.id,
        attempt=job.epoch,
        project_id=job.project_id,
        base_model=job.base_model,
        method=job.method,
        hyperparameters=_effective_hyperparameters(job),
        seed=job.seed,
        micro_batch=job.micro_batch,
        training_file=_get_stored_file(session, job.training_file_id),
        validation_file=None if checked is None else _get_stored_file(session, checked),
        integrations=tuple(job.integrations),
        start_model=job.start_model,
        start_model_prefix=_find_start_model_prefix(session, job),
        resume_points=tuple(
            ResumePoint(row.step, row.storage_prefix, row.manifest_sha256)
            for row in checkpoints.list_resumable(session, job.id)
        ),
    )


def _effective_hyperparameters(job: Job) -> dict[str, Any]:
    """As requested, with the numbers that an earlier attempt has chosen for "auto"."""
    chosen = job.resolved or {}
    return {name: chosen.get(name, value) for name, value in job.hyperparameters.items()}


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
) -> WorkerDirective:
    """Renew a lease, also a late one: while the epoch is the same, nobody else had the job."""
    session.execute(
        update(JobLease)
        .where(JobLease.job_id == job_id, JobLease.epoch == attempt)
        .values(
            lease_until=clock.seconds_from_now(lease_seconds),
            heartbeat_at=func.clock_timestamp(),
            step=step,
        )
    )
    return get_directive(session, job_id, attempt)


def get_directive(session: Session, job_id: str, attempt: int) -> WorkerDirective:
    """What the attempt `epoch` is to do with its job; changes nothing."""
    row = session.execute(select(Job.state, Job.epoch).where(Job.id == job_id)).one_or_none()
    if row is None:
        return WorkerDirective.LEASE_LOST
    if row.state == "cancelled":
        return WorkerDirective.CANCEL
    if row.epoch != attempt or row.state not in states.HELD_STATES:
        return WorkerDirective.LEASE_LOST
    return WorkerDirective.PAUSE if row.state == "pausing" else WorkerDirective.CONTINUE


def get_outcome(session: Session, job_id: str, epoch: int) -> tuple[str, int | None] | None:
    """The outcome and the exit code of an attempt; None while it is open."""
    attempt = session.get(JobAttempt, (job_id, epoch), populate_existing=True)
    if attempt is None or attempt.outcome is None:
        return None
    return attempt.outcome, attempt.exit_code


def is_owner(session: Session, job_id: str, attempt: int) -> bool:
    """Whether the attempt `epoch` still holds its job."""
    return get_directive(session, job_id, attempt) in (
        WorkerDirective.CONTINUE,
        WorkerDirective.PAUSE,
    )
