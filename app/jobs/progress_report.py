"""Progress of jobs as their readers see it: steps, time left, and the reason why a job waits.

Of any number of jobs by the same few queries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from sqlalchemy import Row, extract, func, select, true
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.db.tables import (
    EventLevel,
    Job,
    JobAttempt,
    JobEvent,
    JobLease,
    JobMetric,
    JobState,
    Project,
    TrainerState,
)
from app.jobs import scheduling, trainers
from app.jobs.schemas import WaitReason


@dataclass(frozen=True, slots=True)
class Wait:
    """Reason why a job waits, and a sentence about it."""

    reason: WaitReason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressReport:
    """Progress of a job. `step` is the last one reported, `seconds_left` an estimate.

    `queue_position` is that among the queued jobs of its project, from 1.
    """

    step: int
    total_steps: int | None
    seconds_left: float | None
    attempts: int
    trainer: str | None
    queue_position: int | None
    wait: Wait | None


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """Facts about the queue that the reasons of queued jobs depend on."""

    # Running jobs of a project, and the most that it may run; 0 is unlimited.
    quotas: Mapping[str, tuple[int, int]]
    positions: Mapping[str, int]
    has_trainer: bool
    # The last warning about each job whose next attempt is delayed.
    warnings: Mapping[str, str]


def report(
    session: Session, jobs: Sequence[Job], *, max_running: int, heartbeat_seconds: float
) -> dict[str, ProgressReport]:
    """Report the progress of jobs of any projects, by job id.

    `max_running` is the quota of projects without one of their own, 0 is unlimited;
    `heartbeat_seconds` the interval of trainers' heartbeats.
    """
    if not jobs:
        return {}
    facts = {row.id: row for row in _read_job_facts(session, jobs)}
    queued = [job for job in jobs if job.state == JobState.QUEUED]
    delayed = [job.id for job in queued if job.id in facts and facts[job.id].is_delayed]
    queue = _read_queue_facts(
        session, queued, delayed, max_running=max_running, heartbeat_seconds=heartbeat_seconds
    )
    # A job that was deleted meanwhile has no facts.
    return {job.id: _build_report(job, facts[job.id], queue) for job in jobs if job.id in facts}


def _read_job_facts(session: Session, jobs: Sequence[Job]) -> Sequence[Row[Any]]:
    step = select(func.max(JobMetric.step)).where(JobMetric.job_id == Job.id).scalar_subquery()
    attempts = (
        select(func.count())
        .select_from(JobAttempt)
        .where(JobAttempt.job_id == Job.id)
        .scalar_subquery()
    )
    seconds_left = extract("epoch", Job.estimated_finish - func.clock_timestamp())
    statement = (
        select(
            Job.id,
            func.coalesce(step, 0).label("step"),
            attempts.label("attempts"),
            func.greatest(seconds_left, 0).label("seconds_left"),
            Job.estimated_finish,
            (Job.run_after > func.clock_timestamp()).label("is_delayed"),
            JobLease.trainer,
            JobLease.yield_requested_at,
        )
        .outerjoin(JobLease, JobLease.job_id == Job.id)
        .where(Job.id.in_([job.id for job in jobs]))
    )
    return session.execute(statement).all()


def _read_queue_facts(
    session: Session,
    queued: Sequence[Job],
    delayed: Sequence[str],
    *,
    max_running: int,
    heartbeat_seconds: float,
) -> QueueFacts:
    if not queued:
        return QueueFacts({}, {}, has_trainer=True, warnings={})
    project_ids = {job.project_id for job in queued}
    live = trainers.count_by_state(session, heartbeat_seconds=heartbeat_seconds)
    return QueueFacts(
        quotas=_read_quotas(session, project_ids, max_running),
        positions=_read_positions(session, project_ids, [job.id for job in queued]),
        has_trainer=live[TrainerState.ACTIVE] > 0,
        warnings=_read_warnings(session, delayed),
    )


def _read_quotas(
    session: Session, project_ids: set[str], max_running: int
) -> dict[str, tuple[int, int]]:
    running = scheduling.select_running()
    limit = func.coalesce(Project.max_running_jobs, max_running)
    statement = (
        select(Project.id, running.c.count, limit)
        .select_from(Project)
        .join(running, true())
        .where(Project.id.in_(project_ids))
    )
    return {id: (count, limit) for id, count, limit in session.execute(statement)}


def _read_positions(
    session: Session, project_ids: set[str], job_ids: Sequence[str]
) -> dict[str, int]:
    order = (Job.priority.desc(), Job.created_at, Job.id)
    position = func.row_number().over(partition_by=Job.project_id, order_by=order)
    queue = (
        select(Job.id, position.label("position"))
        .where(Job.state == JobState.QUEUED, Job.project_id.in_(project_ids))
        .subquery()
    )
    rows = session.execute(select(queue.c.id, queue.c.position).where(queue.c.id.in_(job_ids)))
    return dict(rows.all())


def _read_warnings(session: Session, job_ids: Sequence[str]) -> dict[str, str]:
    if not job_ids:
        return {}
    statement = (
        select(JobEvent.job_id, JobEvent.message)
        .where(JobEvent.job_id.in_(job_ids), JobEvent.level == EventLevel.WARN)
        .ext(distinct_on(JobEvent.job_id))
        .order_by(JobEvent.job_id, JobEvent.seq.desc())
    )
    return dict(session.execute(statement).all())


def _build_report(job: Job, facts: Row[Any], queue: QueueFacts) -> ProgressReport:
    return ProgressReport(
        step=facts.step,
        total_steps=job.total_steps,
        seconds_left=None if facts.estimated_finish is None else float(facts.seconds_left),
        attempts=facts.attempts,
        trainer=facts.trainer,
        queue_position=queue.positions.get(job.id),
        wait=_find_wait(job, facts, queue),
    )


def _find_wait(job: Job, facts: Row[Any], queue: QueueFacts) -> Wait | None:
    match job.state:
        case JobState.VALIDATING_FILES:
            message = "Its files are about to be checked by the io process."
            return Wait(WaitReason.FILE_CHECK, message)
        case JobState.QUEUED:
            return _find_wait_in_queue(job, facts, queue)
        case JobState.PAUSING:
            message = "It is being paused: its trainer stores a checkpoint."
            return Wait(WaitReason.PAUSING, message)
        case JobState.PAUSED:
            return Wait(WaitReason.PAUSED, "It is paused until it is resumed.")
        case JobState.RUNNING if facts.yield_requested_at is not None:
            message = "It is yielding its trainer to another project at its next checkpoint."
            return Wait(WaitReason.YIELDING, message)
    return None


def _find_wait_in_queue(job: Job, facts: Row[Any], queue: QueueFacts) -> Wait:
    if facts.is_delayed:
        retry = f"It is tried again at {job.run_after.astimezone(UTC):%H:%M:%S} UTC."
        return Wait(WaitReason.RETRY, f"{queue.warnings.get(job.id, '')} {retry}".lstrip())
    running, limit = queue.quotas.get(job.project_id, (0, 0))
    if limit and running >= limit:
        message = f"Its project runs its maximum of {limit} job(s)."
        return Wait(WaitReason.PROJECT_QUOTA, message)
    if not queue.has_trainer:
        return Wait(WaitReason.NO_TRAINER, "No trainer takes jobs at present.")
    before = queue.positions.get(job.id, 1) - 1
    if before:
        message = f"It waits for {before} job(s) of its project that come before it."
        return Wait(WaitReason.QUEUE, message)
    return Wait(WaitReason.QUEUE, "It waits for a free trainer and its project's turn.")
