"""The life of a job as its owner sees it: created, validated, paused, cancelled, ended."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import outbox
from app.db.tables import File, Job
from app.errors import InvalidRequest, NotFound
from app.formats import counted
from app.formats.errors import shown
from app.jobs import checkpoints, events, file_checks, quotas, states
from app.jobs.events import Entry
from app.jobs.file_checks import Problem

VALIDATED = Entry("validated", "Files validated, moving job to queued state")
# Of hyperparameters that are not known; a request may hold any number.
MOST_NAMED = 10
ENDED = {
    "succeeded": "has already succeeded",
    "failed": "has already failed",
    "cancelled": "was cancelled",
}
CANCELLED = Entry("cancelled", "The job has been cancelled")


def created(session: Session, job: Job, *, unused: Sequence[str] = ()) -> None:
    """Tell of a new job, which the session holds in validating_files, and have it validated.

    `unused` are the names of hyperparameters that were given and that nothing here reads.
    """
    session.flush()
    told = [
        Entry("created", f"Created fine-tuning job: {job.id}"),
        Entry("validating", _validating(job)),
    ]
    if unused:
        named = ", ".join(shown(name) for name in unused[:MOST_NAMED])
        sentence = f"Hyperparameters that method {job.method} does not have were left out: {named}"
        told.append(Entry("unused", sentence, level="warn"))
    events.append(session, job, told)
    outbox.bell(session, "validate", job.id)


def _validating(job: Job) -> str:
    sentence = f"Validating training file: {job.training_file_id}"
    if job.validation_file_id is None:
        return sentence
    return f"{sentence} and validation file: {job.validation_file_id}"


def validate(session: Session, job_id: str) -> None:
    """Queue a new job, or fail it for what its files are; does nothing with any other job."""
    job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None or job.state != "validating_files":
        return
    training = session.get_one(File, job.training_file_id, populate_existing=True)
    checked = None
    if job.validation_file_id is not None:
        checked = session.get_one(File, job.validation_file_id, populate_existing=True)
    problem = file_checks.judge(job.method, training, checked)
    if problem is None:
        events.append(session, job, _labels(training, checked))
        events.append(session, job, _notes(training, checked))
        _enqueue(session, job_id, VALIDATED)
    else:
        fail(session, job_id, problem)


def _labels(*files: File | None) -> list[Entry]:
    """How often each label is there."""
    return [
        Entry(f"labels:{file.id}", f"{file.id}: {counted(file.summary['labels'])}")
        for file in files
        if file is not None and file.summary and file.summary.get("labels")
    ]


def _notes(*files: File | None) -> list[Entry]:
    """What does not keep files from being used, but is worth a look."""
    return [
        Entry(f"note:{file.id}:{number}", f"{file.id}: {note}", level="warn")
        for file in files
        if file is not None
        for number, note in enumerate((file.summary or {}).get("notes", ()))
    ]


def _enqueue(session: Session, job_id: str, told: Entry) -> Job | None:
    job = states.move(
        session,
        job_id,
        to="queued",
        only_from=("validating_files", "paused"),
        run_after=func.clock_timestamp(),
    )
    if job is not None:
        events.append(session, job, [told])
        outbox.bell(session, "train", job_id)
    return job


def pause(session: Session, project_id: str, job_id: str) -> Job:
    """Have a job keep its place and stop; pausing it again changes nothing.

    A running job becomes `pausing` until its worker has stored a checkpoint. Raises NotFound, and
    InvalidRequest for a job that is neither running nor queued.
    """
    job = owned(session, project_id, job_id)
    if job.state in ("pausing", "paused"):
        return job
    told = Entry(f"pausing:{job.version}", "The job is being paused")
    moved = states.move(session, job_id, to="pausing", only_from=("running",))
    if moved is None:
        told = Entry(f"paused:{job.version}", "The job has been paused")
        moved = states.move(session, job_id, to="paused", only_from=("queued",))
    if moved is None:
        raise _refused(session, job_id, "paused", only="a running or queued job")
    events.append(session, moved, [told])
    return moved


def resume(session: Session, project_id: str, job_id: str, *, max_queued: int = 0) -> Job:
    """Queue a paused job; it continues from its last checkpoint. Resuming it again changes nothing.

    Raises NotFound, TooManyJobs, and InvalidRequest for a job that was not paused.
    """
    job = owned(session, project_id, job_id)
    if job.state in ("queued", "running"):
        return job
    moved = None
    if job.state == "paused":
        quotas.require_room(session, project_id, default=max_queued)
        told = Entry(f"resumed:{job.version}", "The job has been resumed")
        moved = _enqueue(session, job_id, told)
    if moved is None:
        raise _refused(session, job_id, "resumed", only="a paused job")
    return moved


def cancel(session: Session, project_id: str, job_id: str) -> Job:
    """Cancel a job; cancelling it again changes nothing.

    The epoch rises with the same commit, so that from then on nothing counts that its worker does;
    the worker learns of it at its next heartbeat. Raises NotFound, and InvalidRequest for a job
    that has succeeded or failed.
    """
    job = owned(session, project_id, job_id)
    if job.state == "cancelled":
        return job
    moved = states.move(
        session,
        job_id,
        to="cancelled",
        epoch=Job.epoch + 1,
        finished_at=func.clock_timestamp(),
        estimated_finish=None,
    )
    if moved is None:
        raise _refused(session, job_id, "cancelled", only="a job that has not ended")
    states.release(session, job_id, outcome="cancelled")
    checkpoints.drop_resumable(session, job_id)
    events.append(session, moved, [CANCELLED])
    return moved


def fail(
    session: Session,
    job_id: str,
    problem: Problem,
    *,
    held_at: int | None = None,
    exit_code: int | None = None,
) -> None:
    """End a job for a reason that its owner reads. A worker names the epoch it holds the job at.

    Raises Fenced if the job cannot fail now, or not by this worker.
    """
    job = states.move(
        session,
        job_id,
        to="failed",
        held_at=held_at,
        finished_at=func.clock_timestamp(),
        estimated_finish=None,
        error_code=problem.code,
        error_message=problem.message,
        error_param=problem.param,
    )
    if job is None:
        raise states.Fenced(f"{job_id} cannot fail any more")
    states.release(session, job_id, outcome="failed", exit_code=exit_code)
    checkpoints.drop_resumable(session, job_id)
    events.append(session, job, [Entry("failed", problem.message, level="error")])


def owned(session: Session, project_id: str, job_id: str) -> Job:
    """A project's job, its row locked. Raises NotFound for another project's too."""
    statement = (
        select(Job)
        .where(Job.id == job_id, Job.project_id == project_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    job = session.scalars(statement).one_or_none()
    if job is None:
        raise not_found(job_id)
    return job


def not_found(job_id: str) -> NotFound:
    """A job that there is not, in the words that clients know."""
    return NotFound(
        f"Could not find fine tune: {job_id}", param="fine_tune_id", code="fine_tune_not_found"
    )


def _refused(session: Session, job_id: str, verb: str, *, only: str) -> InvalidRequest:
    state = session.get_one(Job, job_id).state
    was = ENDED.get(state, f"is {state}")
    return InvalidRequest(f"Job {job_id} {was} and cannot be {verb}: only {only} can.")
