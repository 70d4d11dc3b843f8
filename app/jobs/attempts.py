"""How an attempt at a job ends without ending the job: yielded, crashed, lost; and what then."""

import random
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from app.db import clock, outbox
from app.db.tables import Job, JobLease
from app.jobs import events, lifecycle, states
from app.jobs.events import Entry
from app.jobs.file_checks import Problem

CRASHED_REPEATEDLY = "worker_crashed_repeatedly"
MOST_ATTEMPTS_WITHOUT_PROGRESS = 3
# A job that crashed is tried again at once; if that brings no new checkpoint, once more after this.
DELAY_SECONDS = 10
# What the worker lacks does not come back at once.
POSTPONED_SECONDS = 30
# Leases that are looked at in one round at most.
BATCH = 100


def yielded(session: Session, job_id: str, epoch: int, *, exit_code: int | None = None) -> None:
    """Give a job back that was stopped at a checkpoint. Raises Fenced."""
    _give_back(session, job_id, epoch, outcome="yielded", exit_code=exit_code)


def postponed(session: Session, job_id: str, epoch: int, *, reason: str) -> None:
    """Give a job back because the worker lacks something that the job is not to blame for.

    Raises Fenced.
    """
    told = Entry(f"postponed:{epoch}", f"{reason} The job is tried again.", level="warn")
    _give_back(session, job_id, epoch, outcome="postponed", told=told, after=POSTPONED_SECONDS)


def crashed(
    session: Session,
    job_id: str,
    epoch: int,
    *,
    reason: str,
    code: str = CRASHED_REPEATEDLY,
    exit_code: int | None = None,
) -> None:
    """Queue a job again whose training ended in a way nobody foresaw, up to three times in a row.

    `code` is what its error is called after the third time. Raises Fenced.
    """
    job = states.guard(session, job_id, epoch)
    _again(session, job, outcome="crashed", reason=reason, code=code, exit_code=exit_code)


def failed(
    session: Session, job_id: str, epoch: int, problem: Problem, *, exit_code: int | None = None
) -> None:
    """End a job that no further attempt would help. Raises Fenced."""
    lifecycle.fail(session, job_id, problem, held_at=epoch, exit_code=exit_code)


def out_of_memory(session: Session, job_id: str, epoch: int, *, exit_code: int) -> None:
    """Queue a job again with half as many examples a forward pass. Raises Fenced."""
    job = states.guard(session, job_id, epoch)
    smaller = _rows(job) // 2
    if smaller < 1:
        message = (
            "The accelerator's memory does not hold the model and one example. "
            "Use a smaller base model or shorter examples."
        )
        problem = Problem("out_of_memory", message)
        lifecycle.fail(session, job_id, problem, held_at=epoch, exit_code=exit_code)
        return
    message = f"Out of memory: training goes on with {smaller} example(s) at a time"
    told = Entry(f"memory:{epoch}", message, level="warn")
    job.micro_batch = smaller
    _give_back(session, job_id, epoch, outcome="crashed", exit_code=exit_code, told=told)


def _rows(job: Job) -> int:
    """Examples in one forward pass so far, at most."""
    if job.micro_batch is not None:
        return job.micro_batch
    batch = (job.resolved or job.hyperparameters).get("batch_size")
    return batch if isinstance(batch, int) else 1


def silent(session: Session) -> Sequence[str]:
    """The jobs whose workers have not been heard of for longer than their leases."""
    held = _held().where(_is_silent()).order_by(JobLease.lease_until).limit(BATCH)
    return session.scalars(held.with_only_columns(Job.id)).all()


def expire_lease(session: Session, job_id: str) -> bool:
    """Take a job from its worker, if that is still silent; whether it was."""
    # A heartbeat that comes just now either renews the lease or finds none.
    statement = _held().where(Job.id == job_id, _is_silent()).with_for_update(skip_locked=True)
    job = session.scalars(statement).one_or_none()
    if job is None:
        return False
    _again(session, job, outcome="lost", reason="The trainer was not heard of any more.")
    return True


def abandoned(session: Session, worker: str) -> list[str]:
    """Take its jobs, whose ids are returned, from a worker that is known to be dead."""
    jobs = session.scalars(_held().where(JobLease.worker == worker).with_for_update()).all()
    for job in jobs:
        _again(session, job, outcome="lost", reason="The trainer died.")
    return [job.id for job in jobs]


def _held() -> Select[Job]:
    """The jobs that workers hold, with their leases: locked, both rows are."""
    held = select(Job).join(JobLease, JobLease.job_id == Job.id)
    return held.where(Job.state.in_(states.ACTIVE)).execution_options(populate_existing=True)


def _is_silent() -> ColumnElement[bool]:
    return JobLease.lease_until < func.clock_timestamp()


def _again(
    session: Session,
    job: Job,
    *,
    outcome: str,
    reason: str,
    code: str = CRASHED_REPEATEDLY,
    exit_code: int | None = None,
) -> None:
    attempts = job.no_progress_attempts + 1
    if attempts >= MOST_ATTEMPTS_WITHOUT_PROGRESS:
        message = f"Training ended {attempts} times without reaching a new checkpoint. {reason}"
        problem = Problem(code, message)
        lifecycle.fail(session, job.id, problem, held_at=job.epoch, exit_code=exit_code)
        return
    told = Entry(f"again:{job.epoch}", f"{reason} The job is tried again.", level="warn")
    job.no_progress_attempts = attempts
    _give_back(
        session,
        job.id,
        job.epoch,
        outcome=outcome,
        exit_code=exit_code,
        told=told,
        # A lost worker has cost a lease already.
        after=0 if outcome == "lost" else _delay(attempts),
    )


def _delay(attempts: int) -> float:
    if attempts == 1:
        return 0
    # Spread, so that jobs that a fault has thrown out together do not come back together.
    return DELAY_SECONDS * random.uniform(0.5, 1.5)


def _give_back(
    session: Session,
    job_id: str,
    epoch: int,
    *,
    outcome: str,
    exit_code: int | None = None,
    told: Entry | None = None,
    after: float = 0,
) -> None:
    job = states.move(
        session,
        job_id,
        to="queued",
        held_at=epoch,
        run_after=clock.in_seconds(after),
        estimated_finish=None,
    ) or states.move(session, job_id, to="paused", held_at=epoch, estimated_finish=None)
    if job is None:
        raise states.Fenced(f"{job_id} is no longer held at epoch {epoch}")
    states.release(session, job_id, outcome=outcome, exit_code=exit_code)
    if job.state == "paused":
        told = Entry(f"paused:{epoch}", "The job has been paused")
    elif after == 0:
        outbox.bell(session, "train", job_id)
    events.append(session, job, [] if told is None else [told])
