"""Progress that a trainer reports: resolved hyperparameters, metrics per step, estimated finish."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import EventLevel, EventType, Job, JobMetric
from app.jobs import checkpoints, events, states
from app.jobs.events import NewEvent

# Loss metric -> its name in OpenAI's event message, in the message's order.
LOSS_LABELS = {
    "train_loss": "training loss",
    "valid_loss": "validation loss",
    "full_valid_loss": "full validation loss",
}


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """Metrics of one optimizer step, under OpenAI's names."""

    step: int
    values: Mapping[str, float]
    # Average over this attempt, and the time of the steps that are left by it; extensions of
    # OpenAI's events, which its clients ignore.
    tokens_per_second: float | None = None
    seconds_left: float | None = None


def record_started(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    hyperparameters: Mapping[str, Any],
    total_steps: int,
    data_warnings: Sequence[str] = (),
    drift_baseline: Mapping[str, Any] | None = None,
    has_other_data: bool = False,
) -> None:
    """Store the values that training chose for "auto" hyperparameters. Raises LeaseLost.

    `data_warnings` become events for the owner. `drift_baseline` is the profile of the training
    data with which monitoring compares the model's traffic. With `has_other_data` the steps of
    earlier attempts, which had other rows, are forgotten.
    """
    job = states.lock_for_attempt(session, job_id, attempt)
    if has_other_data:
        _forget_steps(session, job)
    new_events = [
        NewEvent(f"noted:{_digest(warning)}", warning, level=EventLevel.WARN)
        for warning in data_warnings
    ]
    events.append(session, job, new_events)
    job.resolved_hyperparameters = dict(hyperparameters)
    job.total_steps = total_steps
    job.drift_baseline = None if drift_baseline is None else dict(drift_baseline)


def _digest(sentence: str) -> str:
    """Digest of a warning: another attempt may have other warnings, or in another order."""
    return hashlib.sha256(sentence.encode()).hexdigest()[:16]


def _forget_steps(session: Session, job: Job) -> None:
    """Delete the checkpoints and metrics of earlier attempts; their events can be appended anew."""
    checkpoints.delete_after(session, job.id, 0)
    events.release_keys_after(session, job, 0, before_attempt=job.attempt)
    is_earlier = (JobMetric.job_id == job.id, JobMetric.attempt < job.attempt)
    session.execute(delete(JobMetric).where(*is_earlier))


def record_metrics(
    session: Session,
    job_id: str,
    attempt: int,
    steps: Sequence[StepMetrics],
    *,
    seconds_left: float | None = None,
) -> None:
    """Upsert the metrics of steps and append their events. Raises LeaseLost.

    Values of this attempt replace those that an earlier attempt reported for the same step.
    """
    job = states.lock_for_attempt(session, job_id, attempt)
    newest = {step.step: checkpoints.drop_nonfinite(step.values) for step in steps}
    extras = {step.step: _list_extras(step) for step in steps}
    rows = [
        {"job_id": job_id, "step": number, "attempt": attempt, "values": values}
        for number, values in newest.items()
    ]
    statement = insert(JobMetric)
    replace = {name: statement.excluded[name] for name in ("attempt", "values")}
    session.execute(
        statement.on_conflict_do_update(index_elements=["job_id", "step"], set_=replace), rows
    )
    events.append(
        session,
        job,
        [_build_metrics_event(job, n, values, extras[n]) for n, values in newest.items()],
    )
    if seconds_left is not None:
        job.estimated_finish = clock.seconds_from_now(seconds_left)


def add_event(session: Session, job_id: str, attempt: int, event: NewEvent) -> None:
    """Append an event to the job. Raises LeaseLost."""
    events.append(session, states.lock_for_attempt(session, job_id, attempt), [event])


def _build_metrics_event(
    job: Job, step: int, values: Mapping[str, float], extras: Mapping[str, float]
) -> NewEvent:
    losses = ", ".join(
        f"{label}={values[name]:.2f}" for name, label in LOSS_LABELS.items() if name in values
    )
    return NewEvent(
        f"step:{step}",
        f"Step {step}/{job.total_steps}: {losses}",
        type=EventType.METRICS,
        data={"step": step, "total_steps": job.total_steps, **values, **extras},
    )


def _list_extras(step: StepMetrics) -> dict[str, float]:
    extras = {"tokens_per_second": step.tokens_per_second, "seconds_left": step.seconds_left}
    return {name: round(value, 1) for name, value in extras.items() if value is not None}
