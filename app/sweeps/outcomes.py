"""Outcomes of trials, from their jobs."""

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import (
    Checkpoint,
    EventLevel,
    FineTunedModel,
    Job,
    JobState,
    Sweep,
    SweepTrial,
    TrialState,
)
from app.sweeps import events, metrics

DELETED_JOB_MESSAGE = "Its job was deleted."
DELETED_MODEL_MESSAGE = "Its model was deleted before the sweep ended."


def list_trials(session: Session, sweep_id: str) -> list[SweepTrial]:
    statement = (
        select(SweepTrial)
        .where(SweepTrial.sweep_id == sweep_id)
        .order_by(SweepTrial.index)
        .execution_options(populate_existing=True)
    )
    return list(session.scalars(statement))


def record_ended_jobs(session: Session, sweep: Sweep, trials: Sequence[SweepTrial]) -> None:
    """Record the results of the trials whose jobs have ended."""
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    found = find_jobs(session, running)
    for trial in running:
        job = found.get(trial.job_id or "")
        if job is None:
            end_trial(session, sweep, trial, TrialState.DELETED, DELETED_JOB_MESSAGE)
        elif job.state == JobState.SUCCEEDED:
            _record_success(session, sweep, trial, job)
        elif job.state == JobState.FAILED:
            end_trial(
                session, sweep, trial, TrialState.FAILED, job.error_message or "The job failed."
            )
        elif job.state == JobState.CANCELLED:
            end_trial(session, sweep, trial, TrialState.CANCELLED, "Its job was cancelled.")


def exclude_deleted_models(session: Session, sweep: Sweep, trials: Sequence[SweepTrial]) -> None:
    """Let no trial win, or be trained for longer, whose model its owner has deleted."""
    names = [t.fine_tuned_model for t in trials if t.state == TrialState.SUCCEEDED]
    kept = select(FineTunedModel.name).where(
        FineTunedModel.name.in_(names), FineTunedModel.deleted_at.is_(None)
    )
    existing = set(session.scalars(kept))
    for trial in trials:
        if trial.state == TrialState.SUCCEEDED and trial.fine_tuned_model not in existing:
            end_trial(session, sweep, trial, TrialState.DELETED, DELETED_MODEL_MESSAGE)


def end_trial(
    session: Session, sweep: Sweep, trial: SweepTrial, state: TrialState, reason: str
) -> None:
    """End a trial without a result."""
    trial.state, trial.error_message = state, reason
    message = f"Trial {trial.index} {state}: {reason}"
    events.append(
        session,
        sweep,
        message,
        level=EventLevel.WARN,
        trial=trial.index,
        job_id=trial.job_id,
    )


def find_jobs(session: Session, trials: Sequence[SweepTrial]) -> Mapping[str, Job]:
    job_ids = [trial.job_id for trial in trials if trial.job_id is not None]
    statement = select(Job).where(Job.id.in_(job_ids))
    fresh = statement.execution_options(populate_existing=True)
    return {job.id: job for job in session.scalars(fresh)}


def _record_success(session: Session, sweep: Sweep, trial: SweepTrial, job: Job) -> None:
    # The checkpoint of a job's model has the metrics of the weights that were chosen, such as those
    # of the best epoch; they are on the whole validation file.
    values = session.scalar(
        select(Checkpoint.metrics).where(
            Checkpoint.job_id == job.id, Checkpoint.model_name == job.fine_tuned_model
        )
    )
    trial.state = TrialState.SUCCEEDED
    trial.fine_tuned_model = job.fine_tuned_model
    trial.value = metrics.read_value(sweep.metric, values or {})
    shown = "without the metric" if trial.value is None else f"{trial.value:.6g}"
    events.append(
        session,
        sweep,
        f"Trial {trial.index} succeeded: {sweep.metric} {shown} ({trial.job_id})",
        level=EventLevel.WARN if trial.value is None else EventLevel.INFO,
        trial=trial.index,
        job_id=trial.job_id,
        value=trial.value,
    )
