"""Progress that a trainer reports: resolved hyperparameters, metrics per step, estimated finish."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    # Average over this attempt; an extension of OpenAI's events, which its clients ignore.
    tokens_per_second: float | None = None


def record_started(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    hyperparameters: Mapping[str, Any],
    total_steps: int,
    data_warnings: Sequence[str] = (),
    drift_baseline: Mapping[str, Any] | None = None,
) -> None:
    """Store the values that training chose for "auto" hyperparameters. Raises LeaseLost.

    `data_warnings` become events for the owner. `drift_baseline` is the profile of the training
    data with which monitoring compares the model's traffic.
    """
    job = states.lock_for_attempt(session, job_id, attempt)
    new_events = [
        NewEvent(f"noted:{number}", warning, level=EventLevel.WARN)
        for number, warning in enumerate(data_warnings)
    ]
    events.append(session, job, new_events)
    job.resolved_hyperparameters = dict(hyperparameters)
    job.total_steps = total_steps
    job.drift_baseline = None if drift_baseline is None else dict(drift_baseline)


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
    speeds = {step.step: step.tokens_per_second for step in steps}
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
        [_build_metrics_event(job, n, values, speeds[n]) for n, values in newest.items()],
    )
    if seconds_left is not None:
        job.estimated_finish = clock.seconds_from_now(seconds_left)


def add_event(session: Session, job_id: str, attempt: int, event: NewEvent) -> None:
    """Append an event to the job. Raises LeaseLost."""
    events.append(session, states.lock_for_attempt(session, job_id, attempt), [event])


def _build_metrics_event(
    job: Job, step: int, values: Mapping[str, float], speed: float | None
) -> NewEvent:
    losses = ", ".join(
        f"{label}={values[name]:.2f}" for name, label in LOSS_LABELS.items() if name in values
    )
    extra = {} if speed is None else {"tokens_per_second": round(speed, 1)}
    return NewEvent(
        f"step:{step}",
        f"Step {step}/{job.total_steps}: {losses}",
        type=EventType.METRICS,
        data={"step": step, "total_steps": job.total_steps, **values, **extra},
    )
