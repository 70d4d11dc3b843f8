"""Serializers of sweeps and their events: rows to wire objects."""

from collections.abc import Sequence

from app.db.tables import Sweep, SweepEvent, SweepState, SweepTrial
from app.jobs.schemas import JobError
from app.sweeps import choice, metrics
from app.sweeps.schemas import BestTrial, SweepEventObject, SweepObject, TrialObject


def serialize_sweep(row: Sweep, trials: Sequence[SweepTrial]) -> SweepObject:
    return SweepObject(
        id=row.id,
        created_at=row.created_at,
        finished_at=row.finished_at,
        status=row.state,
        job=row.job,
        space=row.space,
        strategy=row.strategy,
        max_jobs=row.max_jobs,
        metric=row.metric,
        goal="minimize" if metrics.is_minimized(row.metric) else "maximize",
        seed=row.seed,
        metadata=row.user_metadata,
        best=_serialize_best(row, trials),
        why=choice.explain(trials, row.metric),
        trials=[_serialize_trial(trial) for trial in trials],
        error=_serialize_error(row),
    )


def serialize_event(row: SweepEvent) -> SweepEventObject:
    """Serialize an event; fields and columns have the same names."""
    return SweepEventObject.model_validate(row)


def _serialize_best(row: Sweep, trials: Sequence[SweepTrial]) -> BestTrial | None:
    best = choice.find_best(trials, row.metric)
    if best is None or best.value is None:
        return None
    return BestTrial(
        trial=best.index,
        job_id=best.job_id,
        fine_tuned_model=best.fine_tuned_model,
        hyperparameters=best.hyperparameters,
        metric=row.metric,
        value=best.value,
    )


def _serialize_trial(trial: SweepTrial) -> TrialObject:
    return TrialObject(
        index=trial.index,
        rung=trial.rung,
        status=trial.state,
        hyperparameters=trial.hyperparameters,
        job_id=trial.job_id,
        fine_tuned_model=trial.fine_tuned_model,
        value=trial.value,
        error=trial.error_message,
    )


def _serialize_error(row: Sweep) -> JobError | None:
    if row.state != SweepState.FAILED:
        return None
    message = row.error_message or "The sweep failed."
    return JobError(code="no_finished_trial", message=message, param=None)
