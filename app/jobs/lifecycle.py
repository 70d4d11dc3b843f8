"""The life of a job as its owner sees it: created, validated, paused, cancelled, ended."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import outbox
from app.db.tables import File, Job
from app.errors import InvalidRequest, NotFound
from app.formats import label_counts_sentence
from app.formats.errors import escape_for_message
from app.jobs import checkpoints, events, file_checks, quotas, states
from app.jobs.events import NewEvent
from app.jobs.file_checks import JobFailure

VALIDATED_EVENT = NewEvent("validated", "Files validated, moving job to queued state")
# Of hyperparameters that are not known; a request may hold any number.
MAX_LISTED_NAMES = 10
TERMINAL_DESCRIPTIONS = {
    "succeeded": "has already succeeded",
    "failed": "has already failed",
    "cancelled": "was cancelled",
}
CANCELLED_EVENT = NewEvent("cancelled", "The job has been cancelled")


def announce_created(
    session: Session, job: Job, *, unknown_hyperparameters: Sequence[str] = ()
) -> None:
    """Tell of a new job, which the session holds in validating_files, and have it validated.

    `unused` are the names of hyperparameters that were given and that nothing here reads.
    """
    session.flush()
    told = [
        NewEvent("created", f"Created fine-tuning job: {job.id}"),
        NewEvent("validating", _validating_message(job)),
    ]
    if unknown_hyperparameters:
        named = ", ".join(
            escape_for_message(name) for name in unknown_hyperparameters[:MAX_LISTED_NAMES]
        )
        sentence = f"Hyperparameters that method {job.method} does not have were left out: {named}"
        told.append(NewEvent("unused", sentence, level="warn"))
    events.append(session, job, told)
    outbox.enqueue_hint(session, "validate", job.id)


def _validating_message(job: Job) -> str:
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
    problem = file_checks.find_failure(job.method, training, checked)
    if problem is None:
        events.append(session, job, _label_events(training, checked))
        events.append(session, job, _warning_events(training, checked))
        _queue(session, job_id, VALIDATED_EVENT)
    else:
        fail(session, job_id, problem)


def _label_events(*files: File | None) -> list[NewEvent]:
    """How often each label is there."""
    return [
        NewEvent(f"labels:{file.id}", f"{file.id}: {label_counts_sentence(file.summary['labels'])}")
        for file in files
        if file is not None and file.summary and file.summary.get("labels")
    ]


def _warning_events(*files: File | None) -> list[NewEvent]:
    """What does not keep files from being used, but is worth a look."""
    return [
        NewEvent(f"note:{file.id}:{number}", f"{file.id}: {note}", level="warn")
        for file in files
        if file is not None
        for number, note in enumerate((file.summary or {}).get("notes", ()))
    ]


def _queue(session: Session, job_id: str, told: NewEvent) -> Job | None:
    job = states.transition(
        session,
        job_id,
        to="queued",
        only_from=("validating_files", "paused"),
        run_after=func.clock_timestamp(),
    )
    if job is not None:
        events.append(session, job, [told])
        outbox.enqueue_hint(session, "train", job_id)
    return job


def pause(session: Session, project_id: str, job_id: str) -> Job:
    """Have a job keep its place and stop; pausing it again changes nothing.

    A running job becomes `pausing` until its worker has stored a checkpoint. Raises NotFound, and
    InvalidRequest for a job that is neither running nor queued.
    """
    job = lock_job(session, project_id, job_id)
    if job.state in ("pausing", "paused"):
        return job
    told = NewEvent(f"pausing:{job.version}", "The job is being paused")
    moved = states.transition(session, job_id, to="pausing", only_from=("running",))
    if moved is None:
        told = NewEvent(f"paused:{job.version}", "The job has been paused")
        moved = states.transition(session, job_id, to="paused", only_from=("queued",))
    if moved is None:
        raise _illegal_transition(session, job_id, "paused", only="a running or queued job")
    events.append(session, moved, [told])
    return moved


def resume(session: Session, project_id: str, job_id: str, *, max_queued: int = 0) -> Job:
    """Queue a paused job; it continues from its last checkpoint. Resuming it again changes nothing.

    Raises NotFound, TooManyJobs, and InvalidRequest for a job that was not paused.
    """
    job = lock_job(session, project_id, job_id)
    if job.state in ("queued", "running"):
        return job
    moved = None
    if job.state == "paused":
        quotas.check_queue_quota(session, project_id, default=max_queued)
        told = NewEvent(f"resumed:{job.version}", "The job has been resumed")
        moved = _queue(session, job_id, told)
    if moved is None:
        raise _illegal_transition(session, job_id, "resumed", only="a paused job")
    return moved


def cancel(session: Session, project_id: str, job_id: str) -> Job:
    """Cancel a job; cancelling it again changes nothing.

    The epoch rises with the same commit, so that from then on nothing counts that its worker does;
    the worker learns of it at its next heartbeat. Raises NotFound, and InvalidRequest for a job
    that has succeeded or failed.
    """
    job = lock_job(session, project_id, job_id)
    if job.state == "cancelled":
        return job
    moved = states.transition(
        session,
        job_id,
        to="cancelled",
        epoch=Job.epoch + 1,
        finished_at=func.clock_timestamp(),
        estimated_finish=None,
    )
    if moved is None:
        raise _illegal_transition(session, job_id, "cancelled", only="a job that has not ended")
    states.end_attempt(session, job_id, outcome="cancelled")
    checkpoints.delete_resume_checkpoints(session, job_id)
    events.append(session, moved, [CANCELLED_EVENT])
    return moved


def fail(
    session: Session,
    job_id: str,
    failure: JobFailure,
    *,
    by_attempt: int | None = None,
    exit_code: int | None = None,
) -> None:
    """End a job for a reason that its owner reads. A worker names the epoch it holds the job at.

    Raises Fenced if the job cannot fail now, or not by this worker.
    """
    job = states.transition(
        session,
        job_id,
        to="failed",
        by_attempt=by_attempt,
        finished_at=func.clock_timestamp(),
        estimated_finish=None,
        error_code=failure.code,
        error_message=failure.message,
        error_param=failure.param,
    )
    if job is None:
        raise states.LeaseLost(f"{job_id} cannot fail any more")
    states.end_attempt(session, job_id, outcome="failed", exit_code=exit_code)
    checkpoints.delete_resume_checkpoints(session, job_id)
    events.append(session, job, [NewEvent("failed", failure.message, level="error")])


def lock_job(session: Session, project_id: str, job_id: str) -> Job:
    """A project's job, its row locked. Raises NotFound for another project's too."""
    statement = (
        select(Job)
        .where(Job.id == job_id, Job.project_id == project_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    job = session.scalars(statement).one_or_none()
    if job is None:
        raise job_not_found(job_id)
    return job


def job_not_found(job_id: str) -> NotFound:
    """A job that there is not, in the words that clients know."""
    return NotFound(
        f"Could not find fine tune: {job_id}", param="fine_tune_id", code="fine_tune_not_found"
    )


def _illegal_transition(session: Session, job_id: str, verb: str, *, only: str) -> InvalidRequest:
    state = session.get_one(Job, job_id).state
    was = TERMINAL_DESCRIPTIONS.get(state, f"is {state}")
    return InvalidRequest(f"Job {job_id} {was} and cannot be {verb}: only {only} can.")
