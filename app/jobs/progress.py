"""What a training job reports while it runs: chosen numbers, one row a step, when it will end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import Job, JobMetric
from app.jobs import checkpoints, events, states
from app.jobs.events import NewEvent

# In the order of OpenAI's sentence.
LOSS_LABELS = {
    "train_loss": "training loss",
    "valid_loss": "validation loss",
    "full_valid_loss": "full validation loss",
}


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One optimizer step and its metrics under OpenAI's names."""

    step: int
    values: Mapping[str, float]
    # Of this attempt so far; OpenAI's events have no such thing, and its clients ignore it.
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
    """Keep the numbers that training has chosen where the user left the choice. Raises Fenced.

    `notes` are what the owner should look at in the data, `reference` is what traffic of the
    models is held against.
    """
    job = states.lock_owned(session, job_id, attempt)
    told = [NewEvent(f"noted:{n}", note, level="warn") for n, note in enumerate(data_warnings)]
    events.append(session, job, told)
    job.resolved = dict(hyperparameters)
    job.total_steps = total_steps
    job.reference = None if drift_baseline is None else dict(drift_baseline)


def record_metrics(
    session: Session,
    job_id: str,
    attempt: int,
    steps: Sequence[StepMetrics],
    *,
    seconds_left: float | None = None,
) -> None:
    """Keep the metrics of some steps and tell of them. Raises Fenced.

    A step that an earlier attempt has made already gets this attempt's values.
    """
    job = states.lock_owned(session, job_id, attempt)
    newest = {step.step: checkpoints.without_nonfinite(step.values) for step in steps}
    speeds = {step.step: step.tokens_per_second for step in steps}
    rows = [
        {"job_id": job_id, "step": number, "epoch": attempt, "values": values}
        for number, values in newest.items()
    ]
    statement = insert(JobMetric)
    replace = {name: statement.excluded[name] for name in ("epoch", "values")}
    session.execute(
        statement.on_conflict_do_update(index_elements=["job_id", "step"], set_=replace), rows
    )
    events.append(
        session, job, [_metrics_event(job, n, values, speeds[n]) for n, values in newest.items()]
    )
    if seconds_left is not None:
        job.estimated_finish = clock.seconds_from_now(seconds_left)


def add_event(session: Session, job_id: str, attempt: int, event: NewEvent) -> None:
    """Tell the job's owner of something that is no metric. Raises Fenced."""
    events.append(session, states.lock_owned(session, job_id, attempt), [event])


def _metrics_event(
    job: Job, step: int, values: Mapping[str, float], speed: float | None
) -> NewEvent:
    losses = ", ".join(
        f"{words}={values[name]:.2f}" for name, words in LOSS_LABELS.items() if name in values
    )
    told = {} if speed is None else {"tokens_per_second": round(speed, 1)}
    return NewEvent(
        f"step:{step}",
        f"Step {step}/{job.total_steps}: {losses}",
        type="metrics",
        data={"step": step, "total_steps": job.total_steps, **values, **told},
    )
