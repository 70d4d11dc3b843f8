"""End of an attempt: yielded, postponed, crashed, lost, diverged or out of memory; requeue or fail.

After an attempt without a new checkpoint the job is retried with backoff; after three it fails.
"""

import random
from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.catalog import GENERATIVE_METHODS
from app.db import clock, outbox
from app.db.tables import (
    AttemptEnd,
    AttemptOutcome,
    EventLevel,
    Job,
    JobAttempt,
    JobState,
    WorkerTask,
)
from app.jobs import checkpoints, events, lifecycle, states
from app.jobs.events import NewEvent
from app.jobs.failures import JobErrorCode, JobFailure

MAX_ATTEMPTS_WITHOUT_PROGRESS = 3
# A job that diverged is trained again this often, each time with this share of the rate.
MAX_RESTARTS_AT_SMALLER_RATE = 2
RATE_REDUCTION = 1 / 3
# The first retry starts at once. If it stores no checkpoint either, the next waits this long.
RETRY_DELAY_SECONDS = 10
# A missing resource, such as storage, takes a while to become available again.
POSTPONE_DELAY_SECONDS = 30
BATCH_SIZE = 100
OUT_OF_DEVICE_MEMORY = "Training ran out of memory."
# Key of the event that says that a job goes on with gradient checkpointing.
GRADIENT_CHECKPOINTING_KEY = "memory:gradient_checkpointing"


def yield_job(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    exit_code: int | None = None,
    event: NewEvent | None = None,
) -> None:
    """Requeue a job that was stopped at a checkpoint; `event` says why. Raises LeaseLost."""
    _requeue(
        session,
        job_id,
        attempt,
        outcome=AttemptOutcome.YIELDED,
        exit_code=exit_code,
        event=event,
    )


def end_at_time_limit(
    session: Session, job_id: str, attempt: int, *, hours: float, exit_code: int | None = None
) -> None:
    """Fail a job that has trained for `hours`, and keep its last checkpoint as a model.

    Its owner loses nothing that was trained: another job can start from that model. Raises
    LeaseLost.
    """
    job = states.lock_for_attempt(session, job_id, attempt)
    kept = checkpoints.publish_latest(session, job)
    message = f"The job reached this service's limit of {hours:g} hour(s) of training per job. "
    if kept is None:
        message += "It had no checkpoint yet. Use a smaller training file or fewer epochs."
    else:
        message += (
            f"Its checkpoint at step {kept.step} of {job.total_steps} is the model "
            f"{kept.model_name}. Create a job with that model to train it further."
        )
    failure = JobFailure(JobErrorCode.TIME_LIMIT_EXCEEDED, message)
    lifecycle.fail(session, job_id, failure, by_attempt=attempt, exit_code=exit_code)


def postpone(session: Session, job_id: str, attempt: int, *, reason: str) -> None:
    """Requeue a job whose trainer lacks a resource, such as storage, through no fault of the job.

    Raises LeaseLost.
    """
    event = _build_requeued_event(f"postponed:{attempt}", reason)
    _requeue(
        session,
        job_id,
        attempt,
        outcome=AttemptOutcome.POSTPONED,
        event=event,
        delay_seconds=POSTPONE_DELAY_SECONDS,
    )


def requeue_restored(session: Session, job_id: str, attempt: int) -> None:
    """Requeue a job whose attempt was under way when the restored backup was taken."""
    event = _build_requeued_event(f"restored:{attempt}", "The service was restored from a backup.")
    _requeue(session, job_id, attempt, outcome=AttemptOutcome.LOST, event=event)


def record_crash(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    reason: str,
    code: JobErrorCode = JobErrorCode.WORKER_CRASHED_REPEATEDLY,
    exit_code: int | None = None,
) -> None:
    """Requeue a job whose training ended unexpectedly, or fail it the third time in a row.

    `code` is the job's error code after the third time. Raises LeaseLost.
    """
    job = states.lock_for_attempt(session, job_id, attempt)
    retry_or_fail(
        session, job, outcome=AttemptOutcome.CRASHED, reason=reason, code=code, exit_code=exit_code
    )


def fail(
    session: Session,
    job_id: str,
    attempt: int,
    failure: JobFailure,
    *,
    exit_code: int | None = None,
) -> None:
    """Fail a job for which a retry would not help. Raises LeaseLost."""
    lifecycle.fail(session, job_id, failure, by_attempt=attempt, exit_code=exit_code)


def retry_with_smaller_batch(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    exit_code: int,
    reason: str = OUT_OF_DEVICE_MEMORY,
) -> None:
    """Requeue a job that ran out of memory with half the examples and tokens in its micro-batch.

    A job whose micro-batch is 1 gets gradient checkpointing, which needs less memory per token, and
    fails after that. Raises LeaseLost.
    """
    job = states.lock_for_attempt(session, job_id, attempt)
    smaller = _get_micro_batch_size(job) // 2
    if smaller >= 1:
        key = f"memory:{attempt}"
        message = f"{smaller} example(s) and half as many tokens at a time."
    elif _can_enable_gradient_checkpointing(session, job):
        key = GRADIENT_CHECKPOINTING_KEY
        smaller = 1
        job.resolved_hyperparameters = {
            **(job.resolved_hyperparameters or {}),
            "gradient_checkpointing": True,
        }
        message = "one example at a time and gradient checkpointing: slower, but in less memory."
    else:
        message = (
            f"{reason} Not even one example at a time fits. Use a smaller base model, shorter "
            "examples, or a machine with more memory."
        )
        failure = JobFailure(JobErrorCode.OUT_OF_MEMORY, message)
        lifecycle.fail(session, job_id, failure, by_attempt=attempt, exit_code=exit_code)
        return
    event = NewEvent(key, f"{reason} Training continues with {message}", level=EventLevel.WARN)
    job.micro_batch_size = smaller
    _requeue(
        session,
        job_id,
        attempt,
        outcome=AttemptOutcome.CRASHED,
        exit_code=exit_code,
        event=event,
        end_reason=AttemptEnd.OUT_OF_MEMORY,
    )


def _can_enable_gradient_checkpointing(session: Session, job: Job) -> bool:
    """True once per job, for methods that have it, if its owner did not decide about it."""
    is_known = job.method in GENERATIVE_METHODS
    is_auto = job.hyperparameters.get("gradient_checkpointing", "auto") == "auto"
    return is_known and is_auto and not events.has_key(session, job.id, GRADIENT_CHECKPOINTING_KEY)


def restart_at_smaller_rate(
    session: Session,
    job_id: str,
    attempt: int,
    failure: JobFailure,
    *,
    last_good_step: int,
    exit_code: int,
) -> None:
    """Requeue a job that diverged, from its newest checkpoint up to `last_good_step`.

    Its later checkpoints are deleted. Fails a job whose owner chose the learning rate, or that
    diverged at smaller rates too. Raises LeaseLost.
    """
    job = states.lock_for_attempt(session, job_id, attempt)
    rate = (job.resolved_hyperparameters or {}).get("learning_rate_multiplier")
    is_auto = job.hyperparameters.get("learning_rate_multiplier", "auto") == "auto"
    restarts = _count_attempts(session, job_id, AttemptOutcome.DIVERGED)
    if not is_auto or not isinstance(rate, int | float) or restarts >= MAX_RESTARTS_AT_SMALLER_RATE:
        lifecycle.fail(session, job_id, failure, by_attempt=attempt, exit_code=exit_code)
        return
    smaller = float(f"{rate * RATE_REDUCTION:.3g}")
    job.resolved_hyperparameters = _scale_rate(job.resolved_hyperparameters or {}, smaller)
    step = checkpoints.delete_after(session, job_id, last_good_step)
    events.release_keys_after(session, job, step, before_attempt=attempt + 1)
    start = f"the checkpoint at step {step}" if step else "the start"
    message = (
        f"{failure.message} Training continues from {start} with a learning_rate_multiplier of "
        f"{smaller:g} instead of {rate:g}."
    )
    event = NewEvent(f"diverged:{attempt}", message, level=EventLevel.WARN)
    _requeue(
        session, job_id, attempt, outcome=AttemptOutcome.DIVERGED, exit_code=exit_code, event=event
    )


def _scale_rate(resolved: Mapping[str, Any], multiplier: float) -> dict[str, Any]:
    """Set the multiplier, and the learning rate that is shown to the job's owner."""
    scaled = {**resolved, "learning_rate_multiplier": multiplier}
    if "base_learning_rate" in resolved:
        scaled["learning_rate"] = resolved["base_learning_rate"] * multiplier
    return scaled


def _count_attempts(session: Session, job_id: str, outcome: AttemptOutcome) -> int:
    is_counted = (JobAttempt.job_id == job_id, JobAttempt.outcome == outcome)
    return session.scalars(select(func.count()).select_from(JobAttempt).where(*is_counted)).one()


def _get_micro_batch_size(job: Job) -> int:
    """Get the maximum number of examples per forward pass of the last attempt."""
    if job.micro_batch_size is not None:
        return job.micro_batch_size
    batch = (job.resolved_hyperparameters or job.hyperparameters).get("batch_size")
    return batch if isinstance(batch, int) else 1


def retry_or_fail(
    session: Session,
    job: Job,
    *,
    outcome: AttemptOutcome,
    reason: str,
    code: JobErrorCode = JobErrorCode.WORKER_CRASHED_REPEATEDLY,
    exit_code: int | None = None,
) -> None:
    """End a locked job's attempt: requeue the job with backoff, or fail it after too many.

    An attempt that stored a new checkpoint has made progress and resets the count.
    """
    attempts = job.no_progress_attempts + 1
    if attempts >= MAX_ATTEMPTS_WITHOUT_PROGRESS:
        message = f"Training ended {attempts} times without reaching a new checkpoint. {reason}"
        failure = JobFailure(code, message)
        lifecycle.fail(session, job.id, failure, by_attempt=job.attempt, exit_code=exit_code)
        return
    event = _build_requeued_event(f"again:{job.attempt}", reason)
    job.no_progress_attempts = attempts
    _requeue(
        session,
        job.id,
        job.attempt,
        outcome=outcome,
        exit_code=exit_code,
        event=event,
        # Waiting for the lost trainer's lease to expire was delay enough.
        delay_seconds=0 if outcome is AttemptOutcome.LOST else _compute_backoff_seconds(attempts),
    )


def _build_requeued_event(dedupe_key: str, reason: str) -> NewEvent:
    return NewEvent(dedupe_key, f"{reason} The job was requeued.", level=EventLevel.WARN)


def _compute_backoff_seconds(attempts: int) -> float:
    if attempts == 1:
        return 0
    # Jitter, so that jobs stopped by the same fault are not retried at the same moment.
    return RETRY_DELAY_SECONDS * random.uniform(0.5, 1.5)


def _requeue(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    outcome: AttemptOutcome,
    exit_code: int | None = None,
    event: NewEvent | None = None,
    delay_seconds: float = 0,
    end_reason: AttemptEnd | None = None,
) -> None:
    job = states.transition(
        session,
        job_id,
        to=JobState.QUEUED,
        by_attempt=attempt,
        run_after=clock.seconds_from_now(delay_seconds),
        estimated_finish=None,
    ) or states.transition(
        session, job_id, to=JobState.PAUSED, by_attempt=attempt, estimated_finish=None
    )
    if job is None:
        raise states.LeaseLost(f"{job_id} is no longer owned by attempt {attempt}")
    message = None if event is None else event.message
    if job.state == JobState.PAUSED:
        event = NewEvent(f"paused:{attempt}", "The job has been paused")
        if outcome is AttemptOutcome.YIELDED:
            end_reason, message = AttemptEnd.PAUSED, event.message
    elif delay_seconds == 0:
        outbox.enqueue_notification(session, WorkerTask.TRAIN, job_id)
    states.end_attempt(
        session,
        job_id,
        outcome=outcome,
        exit_code=exit_code,
        message=message,
        end_reason=end_reason,
    )
    events.append(session, job, [] if event is None else [event])
