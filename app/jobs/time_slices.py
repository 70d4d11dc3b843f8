"""Time slices: a trainer is requested back from a project that has had more time than another.

Without this, the jobs of one project would occupy all trainers for as long as they train. A running
job is asked to yield once it has run for a time slice, and only if the trainer would then go to
another project (`app.jobs.scheduling`): jobs of one project never displace each other, and a job
that has yielded cannot be given the trainer back at once. It stops at a checkpoint, and continues
from it when its project's turn comes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import extract, func, select, true, update
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import Job, JobAttempt, JobLease, JobState, Project
from app.jobs import scheduling
from app.jobs.events import NewEvent

# A job that has waited for less may still find a free trainer, which polls every few seconds.
MIN_WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectShare:
    """A project's share of the trainers: running and waiting jobs, and trained time so far.

    `limit` is its quota of running jobs; 0 is unlimited.
    """

    project_id: str
    running: int
    virtual_time: float
    waiting: int
    limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    """A job that a trainer holds, and the seconds since this attempt at it began."""

    job_id: str
    project_id: str
    seconds: float
    is_yielding: bool = False


def request_yields(session: Session, *, slice_seconds: float, max_running: int) -> list[str]:
    """Request trainers back for projects that wait; return the jobs that are to yield.

    `max_running` is the quota of projects without one of their own. Run by one process at a time.
    """
    if slice_seconds == 0:
        return []
    shares = _load_shares(session, max_running)
    if not any(share.waiting for share in shares):
        return []
    job_ids = choose_yielding(shares, _load_running_jobs(session), slice_seconds=slice_seconds)
    if job_ids:
        session.execute(
            update(JobLease)
            .where(JobLease.job_id.in_(job_ids))
            .values(yield_requested_at=func.clock_timestamp())
            .execution_options(synchronize_session=False)
        )
    return job_ids


def choose_yielding(
    shares: Sequence[ProjectShare], jobs: Sequence[RunningJob], *, slice_seconds: float
) -> list[str]:
    """Choose the running jobs that are to yield, as the fair queue would use their trainers."""
    balance = _Balance({share.project_id: share for share in shares})
    for job in jobs:
        if job.is_yielding:
            balance.give_back(job.project_id)
            balance.serve_next()
    chosen = []
    candidates = [job for job in jobs if not job.is_yielding and job.seconds >= slice_seconds]
    while candidates:
        job = max(candidates, key=lambda job: (*balance.order(job.project_id), job.seconds))
        if not balance.would_serve_another(job.project_id):
            break
        candidates.remove(job)
        chosen.append(job.job_id)
        balance.give_back(job.project_id)
        balance.serve_next()
    return chosen


@dataclass(slots=True)
class _Balance:
    """The shares of all projects, with the changes that requested yields will bring."""

    shares: Mapping[str, ProjectShare]
    running: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for share in self.shares.values():
            self.running[share.project_id] = share.running
            self.waiting[share.project_id] = share.waiting

    def order(self, project_id: str) -> tuple[int, float]:
        """The place of a project in the queue; the smallest is served first."""
        share = self.shares.get(project_id)
        return self.running[project_id], 0.0 if share is None else share.virtual_time

    def give_back(self, project_id: str) -> None:
        """Count a running job of the project as waiting."""
        self.running[project_id] -= 1
        self.waiting[project_id] += 1

    def find_next(self) -> str | None:
        """The project that a free trainer would serve."""
        ready = [
            share.project_id
            for share in self.shares.values()
            if self.waiting[share.project_id] > 0
            and (share.limit == 0 or self.running[share.project_id] < share.limit)
        ]
        return min(ready, key=self.order, default=None)

    def serve_next(self) -> None:
        """Count a waiting job of the next project as running."""
        project_id = self.find_next()
        if project_id is not None:
            self.running[project_id] += 1
            self.waiting[project_id] -= 1

    def would_serve_another(self, project_id: str) -> bool:
        """True if a trainer given back by this project would serve another one."""
        self.give_back(project_id)
        following = self.find_next()
        self.running[project_id] += 1
        self.waiting[project_id] -= 1
        return following not in (None, project_id)


def build_yielded_event(attempt: int) -> NewEvent:
    """Build the event of a job that has given its trainer back."""
    return NewEvent(
        f"yielded:{attempt}",
        "The job has used its time slice while jobs of other projects wait. It was requeued, and "
        "continues from its checkpoint when its project's turn comes.",
    )


def _load_shares(session: Session, max_running: int) -> list[ProjectShare]:
    """Load the projects that have waiting or running jobs."""
    running = scheduling.select_running()
    since = clock.seconds_from_now(-MIN_WAIT_SECONDS)
    waiting = (
        select(func.count().label("count"))
        .where(Job.project_id == Project.id, Job.state == JobState.QUEUED, Job.run_after <= since)
        .lateral("waiting")
    )
    statement = (
        select(
            Project.id.label("project_id"),
            running.c.count.label("running"),
            scheduling.compute_virtual_time(running).label("virtual_time"),
            waiting.c.count.label("waiting"),
            func.coalesce(Project.max_running_jobs, max_running).label("limit"),
        )
        .select_from(Project)
        .join(running, true())
        .join(waiting, true())
        .where(running.c.count + waiting.c.count > 0)
    )
    return [
        ProjectShare(
            project_id=row.project_id,
            running=row.running,
            virtual_time=float(row.virtual_time),
            waiting=row.waiting,
            limit=row.limit,
        )
        for row in session.execute(statement)
    ]


def _load_running_jobs(session: Session) -> list[RunningJob]:
    seconds = extract("epoch", func.clock_timestamp() - JobAttempt.started_at)
    statement = (
        select(
            Job.id,
            Job.project_id,
            seconds.label("seconds"),
            JobLease.yield_requested_at.is_not(None).label("is_yielding"),
        )
        .join(JobLease, JobLease.job_id == Job.id)
        .join(JobAttempt, (JobAttempt.job_id == Job.id) & (JobAttempt.attempt == Job.attempt))
        # A job that is pausing or finalizing gives its trainer back anyway.
        .where(Job.state == JobState.RUNNING)
    )
    return [
        RunningJob(
            job_id=row.id,
            project_id=row.project_id,
            seconds=float(row.seconds),
            is_yielding=row.is_yielding,
        )
        for row in session.execute(statement)
    ]
