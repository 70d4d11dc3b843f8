"""Operations on a job: validate, pause, resume, cancel, fail."""

from collections.abc import Iterator
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import outbox
from app.db.tables import AttemptOutcome, EventLevel, File, Job, JobState, WorkerTask
from app.errors import InvalidRequest, NotFound
from app.formats import label_counts_sentence
from app.jobs import checkpoints, events, file_checks, scheduling, start_models, states
from app.jobs.events import NewEvent
from app.jobs.failures import JobFailure
from app.jobs.unknown_fields import IgnoredFields, format_names

VALIDATED_EVENT = NewEvent("validated", "Files validated, moving job to queued state")
TERMINAL_DESCRIPTIONS = {
    JobState.SUCCEEDED: "has already succeeded",
    JobState.FAILED: "has already failed",
    JobState.CANCELLED: "was cancelled",
}


class Actor(StrEnum):
    """The one who changes a job's state."""

    OWNER = "owner"
    OPERATOR = "operator"

    @property
    def suffix(self) -> str:
        """The end of an event's sentence; owners know what they did."""
        return " by the operator" if self is Actor.OPERATOR else ""


def announce_created(session: Session, job: Job, *, ignored: IgnoredFields | None = None) -> None:
    """Append the first events of a new job in validating_files, and enqueue its validation."""
    session.flush()
    new_events = [
        NewEvent("created", f"Created fine-tuning job: {job.id}"),
        NewEvent("validating", _build_validating_message(job)),
        *(_build_ignored_events(job, ignored) if ignored else ()),
    ]
    events.append(session, job, new_events)
    outbox.enqueue_notification(session, WorkerTask.VALIDATE, job.id)


def _build_ignored_events(job: Job, ignored: IgnoredFields) -> Iterator[NewEvent]:
    """Build the events for what the request has and the job does not use."""
    if ignored.hyperparameters:
        names = format_names(ignored.hyperparameters)
        message = f"Ignored hyperparameters that method {job.method} does not have: {names}"
        yield NewEvent("unused", message, level=EventLevel.WARN)
    if ignored.others:
        message = f"Ignored unknown fields of the request: {format_names(ignored.others)}"
        yield NewEvent("unused-fields", message, level=EventLevel.WARN)


def _build_validating_message(job: Job) -> str:
    message = f"Validating training file: {job.training_file_id}"
    if job.validation_file_id is not None:
        message += f" and validation file: {job.validation_file_id}"
    return message if job.test_file_id is None else f"{message} and test file: {job.test_file_id}"


def validate(session: Session, job_id: str, rows_failure: JobFailure | None = None) -> None:
    """Check the files of a job in validating_files, then queue or fail it; ignore other states.

    `rows_failure` is the reason why their rows, once rendered, cannot be learned.
    """
    job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None or job.state != JobState.VALIDATING_FILES:
        return
    files = _get_files(session, job)
    failure = _find_failure(session, job, files) or rows_failure
    if failure is None:
        events.append(session, job, _build_label_events(*files))
        events.append(session, job, _build_warning_events(*files))
        # Tries so far that ended with an error: they are none of its training.
        job.no_progress_attempts = 0
        _queue(session, job_id, VALIDATED_EVENT)
    else:
        fail(session, job_id, failure)


def find_file_failure(session: Session, job: Job) -> JobFailure | None:
    """Return the first reason not to train with a job's files, or None."""
    return _find_failure(session, job, _get_files(session, job))


def _find_failure(
    session: Session, job: Job, files: tuple[File, File | None, File | None]
) -> JobFailure | None:
    failure = file_checks.find_failure(job.method, *files)
    return failure or start_models.find_unknown_label(
        session, job.start_model, job.method, files[0]
    )


def _get_files(session: Session, job: Job) -> tuple[File, File | None, File | None]:
    """Get the training file, the validation file and the test file."""
    training = session.get_one(File, job.training_file_id, populate_existing=True)
    others = (
        None if id is None else session.get_one(File, id, populate_existing=True)
        for id in (job.validation_file_id, job.test_file_id)
    )
    validation, test = others
    return training, validation, test


def _build_label_events(*files: File | None) -> list[NewEvent]:
    """Build an event per file with the number of examples of each label."""
    return [
        NewEvent(f"labels:{file.id}", f"{file.id}: {label_counts_sentence(file.summary['labels'])}")
        for file in files
        if file is not None and file.summary and file.summary.get("labels")
    ]


def _build_warning_events(*files: File | None) -> list[NewEvent]:
    """Build the events for problems in the data that do not prevent training."""
    return [
        NewEvent(f"note:{file.id}:{number}", f"{file.id}: {note}", level=EventLevel.WARN)
        for file in files
        if file is not None
        for number, note in enumerate((file.summary or {}).get("notes", ()))
    ]


def _queue(session: Session, job_id: str, event: NewEvent) -> Job | None:
    job = states.transition(
        session,
        job_id,
        to=JobState.QUEUED,
        only_from=(JobState.VALIDATING_FILES, JobState.PAUSED),
        run_after=func.clock_timestamp(),
    )
    if job is not None:
        events.append(session, job, [event])
        outbox.enqueue_notification(session, WorkerTask.TRAIN, job_id)
    return job


def pause(session: Session, project_id: str, job_id: str, *, by: Actor = Actor.OWNER) -> Job:
    """Pause a running or queued job. Idempotent.

    A running job is `pausing` until its trainer has stored a checkpoint. Raises NotFound, and
    InvalidRequest for a job that is neither running nor queued.
    """
    job = lock_job(session, project_id, job_id)
    if job.state in (JobState.PAUSING, JobState.PAUSED):
        return job
    event = NewEvent(f"pausing:{job.version}", f"The job is being paused{by.suffix}")
    moved = states.transition(session, job_id, to=JobState.PAUSING, only_from=(JobState.RUNNING,))
    if moved is None:
        event = NewEvent(f"paused:{job.version}", f"The job has been paused{by.suffix}")
        moved = states.transition(session, job_id, to=JobState.PAUSED, only_from=(JobState.QUEUED,))
    if moved is None:
        raise _build_illegal_transition(session, job_id, "paused", only="a running or queued job")
    events.append(session, moved, [event])
    return moved


def resume(
    session: Session,
    project_id: str,
    job_id: str,
    *,
    max_queued: int = 0,
    by: Actor = Actor.OWNER,
) -> Job:
    """Queue a paused job, to continue from its last checkpoint. Idempotent.

    Raises NotFound, TooManyQueuedJobs, and InvalidRequest for a job that was not paused.
    """
    job = lock_job(session, project_id, job_id)
    if job.state in (JobState.QUEUED, JobState.RUNNING):
        return job
    moved = None
    if job.state == JobState.PAUSED:
        scheduling.check_queue_quota(session, project_id, default=max_queued)
        event = NewEvent(f"resumed:{job.version}", f"The job has been resumed{by.suffix}")
        moved = _queue(session, job_id, event)
    if moved is None:
        raise _build_illegal_transition(session, job_id, "resumed", only="a paused job")
    return moved


def cancel(session: Session, project_id: str, job_id: str, *, by: Actor = Actor.OWNER) -> Job:
    """Cancel a job that has not ended. Idempotent.

    The same commit increases the attempt number (the fencing token), so that later writes of the
    job's trainer fail; the next heartbeat tells the trainer. Raises NotFound, and
    InvalidRequest for a job that has succeeded or failed.
    """
    job = lock_job(session, project_id, job_id)
    if job.state == JobState.CANCELLED:
        return job
    moved = states.transition(
        session,
        job_id,
        to=JobState.CANCELLED,
        attempt=Job.attempt + 1,
        finished_at=func.clock_timestamp(),
        estimated_finish=None,
    )
    if moved is None:
        raise _build_illegal_transition(
            session, job_id, "cancelled", only="a job that has not ended"
        )
    event = NewEvent("cancelled", f"The job has been cancelled{by.suffix}")
    states.end_attempt(session, job_id, outcome=AttemptOutcome.CANCELLED, message=event.message)
    checkpoints.delete_resume_checkpoints(session, job_id)
    events.append(session, moved, [event])
    return moved


def fail(
    session: Session,
    job_id: str,
    failure: JobFailure,
    *,
    by_attempt: int | None = None,
    exit_code: int | None = None,
) -> None:
    """Fail a job for a reason shown to its owner. A trainer passes its attempt number.

    Raises LeaseLost if the job has ended, or is not owned by this attempt.
    """
    job = states.transition(
        session,
        job_id,
        to=JobState.FAILED,
        by_attempt=by_attempt,
        finished_at=func.clock_timestamp(),
        estimated_finish=None,
        error_code=failure.code,
        error_message=failure.message,
        error_param=failure.param,
    )
    if job is None:
        raise states.LeaseLost(f"{job_id} can no longer fail")
    states.end_attempt(
        session,
        job_id,
        outcome=AttemptOutcome.FAILED,
        exit_code=exit_code,
        message=failure.message,
    )
    checkpoints.delete_resume_checkpoints(session, job_id)
    events.append(session, job, [NewEvent("failed", failure.message, level=EventLevel.ERROR)])


def lock_job(session: Session, project_id: str, job_id: str) -> Job:
    """Get a project's job with its row locked. Raises NotFound, also for another project's job."""
    statement = (
        select(Job)
        .where(Job.id == job_id, Job.project_id == project_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    job = session.scalars(statement).one_or_none()
    if job is None:
        raise build_job_not_found(job_id)
    return job


def build_job_not_found(job_id: str) -> NotFound:
    """Build OpenAI's error for an unknown job."""
    return NotFound(
        f"Could not find fine tune: {job_id}", param="fine_tune_id", code="fine_tune_not_found"
    )


def _build_illegal_transition(
    session: Session, job_id: str, verb: str, *, only: str
) -> InvalidRequest:
    state = session.get_one(Job, job_id).state
    reason = TERMINAL_DESCRIPTIONS.get(state, f"is {state}")
    return InvalidRequest(f"Job {job_id} {reason} and cannot be {verb}: only {only} can.")
