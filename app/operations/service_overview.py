"""Overview of the service for its operator, and of what a project needs to know of it."""

import psutil
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.db.tables import (
    Job,
    JobLease,
    JobState,
    Outbox,
    Project,
    StorageUsage,
    TrainerProcess,
    TrainerState,
)
from app.jobs import states, trainers
from app.jobs.project_queue import find_project_queue
from app.operations.disk_space import DiskSpace
from app.operations.schemas import Machine, OutboxDepth, ProjectStatus, StorageSize, Trainer


def list_trainers(
    session: Session, organization_id: str, *, heartbeat_seconds: float
) -> list[Trainer]:
    """List trainers with the jobs that they hold; those of other organizations are only counted."""
    leases = (
        select(JobLease.trainer, Job.id, Project.organization_id)
        .join(Job, Job.id == JobLease.job_id)
        .join(Project, Project.id == Job.project_id)
        .order_by(Job.id)
    )
    held: dict[str, list[str | None]] = {}
    for trainer, job_id, owner_id in session.execute(leases):
        held.setdefault(trainer, []).append(job_id if owner_id == organization_id else None)
    is_live = TrainerProcess.heartbeat_at > trainers.find_oldest_heartbeat(heartbeat_seconds)
    rows = session.execute(select(TrainerProcess, is_live).order_by(TrainerProcess.name))
    return [
        Trainer(
            name=row.name,
            state=row.state,
            is_live=live,
            started_at=row.started_at,
            heartbeat_at=row.heartbeat_at,
            running_jobs=len(held.get(row.name, ())),
            job_ids=[job_id for job_id in held.get(row.name, ()) if job_id is not None],
        )
        for row, live in rows
    ]


def list_outbox(session: Session) -> list[OutboxDepth]:
    """List the committed side effects that are not performed yet, by kind."""
    rows = (
        select(Outbox.kind, func.count(), func.min(Outbox.created_at))
        .where(Outbox.done_at.is_(None))
        .group_by(Outbox.kind)
        .order_by(Outbox.kind)
    )
    return [
        OutboxDepth(kind=kind, pending=pending, oldest_at=oldest_at)
        for kind, pending, oldest_at in session.execute(rows)
    ]


def measure_storage(session: Session, free_bytes: dict[str, int]) -> StorageSize:
    """Measure what is stored, the database, and the free space of each disk."""
    stored = select(func.sum(StorageUsage.bytes), func.sum(StorageUsage.files)).where(
        StorageUsage.expires_at.is_(None)
    )
    stored_bytes, stored_files = session.execute(stored).one()
    size = session.scalar(select(func.pg_database_size(text("current_database()"))))
    return StorageSize(
        stored_bytes=int(stored_bytes or 0),
        stored_files=int(stored_files or 0),
        database_bytes=size or 0,
        free_bytes=free_bytes,
    )


def measure_machine(space: DiskSpace) -> Machine:
    """Measure the machine of this process. The load is the average of one minute."""
    memory = psutil.virtual_memory()
    return Machine(
        cpu_count=psutil.cpu_count() or 1,
        load_average=round(psutil.getloadavg()[0], 2),
        memory_bytes=memory.total,
        available_memory_bytes=memory.available,
        free_disk_bytes=min(space.free_bytes.values(), default=None),
    )


def find_project_status(
    session: Session,
    project_id: str,
    *,
    max_running: int,
    heartbeat_seconds: float,
    space: DiskSpace,
) -> ProjectStatus:
    """Count a project's jobs, and find when its next one could start.

    `max_running` is the quota of projects without one of their own; 0 is unlimited. Of other
    projects it shows no jobs, only the number of trainers, whether one is idle, and the machine.
    """
    queue = find_project_queue(session, project_id, max_queued=0, max_running=max_running)
    live = trainers.count_by_state(session, heartbeat_seconds=heartbeat_seconds)
    can_start = queue.may_start and _has_idle_trainer(session, heartbeat_seconds)
    finish = select(func.min(Job.estimated_finish)).where(
        Job.project_id == project_id, Job.state.in_(states.HELD_STATES)
    )
    return ProjectStatus(
        running_jobs=queue.running,
        queued_jobs=queue.queued,
        paused_jobs=queue.counts.get(JobState.PAUSED, 0),
        max_running_jobs=queue.max_running or None,
        trainers=live[TrainerState.ACTIVE],
        can_start_now=can_start,
        next_free_at=None if can_start else session.scalar(finish),
        machine=measure_machine(space),
    )


def _has_idle_trainer(session: Session, heartbeat_seconds: float) -> bool:
    is_busy = select(JobLease.job_id).where(JobLease.trainer == TrainerProcess.name).exists()
    idle = select(TrainerProcess.name).where(
        TrainerProcess.state == TrainerState.ACTIVE,
        TrainerProcess.heartbeat_at > trainers.find_oldest_heartbeat(heartbeat_seconds),
        ~is_busy,
    )
    return session.scalar(idle.limit(1)) is not None
