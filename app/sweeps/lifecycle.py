"""Ends of a sweep: finish and cancel."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.tables import (
    TERMINAL_STATES,
    EventLevel,
    Job,
    Sweep,
    SweepState,
    SweepTrial,
    TrialState,
)
from app.errors import InvalidRequest, NotFound
from app.jobs import lifecycle as jobs
from app.jobs.lifecycle import Actor
from app.sweeps import choice, events, outcomes


def lock_sweep(session: Session, project_id: str, sweep_id: str) -> Sweep:
    """Get a project's sweep with its row locked. Raises NotFound, also for another project's."""
    statement = (
        select(Sweep)
        .where(Sweep.id == sweep_id, Sweep.project_id == project_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    sweep = session.scalars(statement).one_or_none()
    if sweep is None:
        raise build_sweep_not_found(sweep_id)
    return sweep


def build_sweep_not_found(sweep_id: str) -> NotFound:
    return NotFound(f"Could not find sweep: {sweep_id}", param="sweep_id", code="sweep_not_found")


def finish(session: Session, sweep: Sweep, trials: Sequence[SweepTrial]) -> None:
    """End a sweep all of whose trials have ended; it has succeeded if one has the metric."""
    why = choice.explain(trials, sweep.metric)
    sweep.finished_at = func.clock_timestamp()
    if why is not None:
        best = choice.rank(trials, sweep.metric)[0]
        sweep.state = SweepState.SUCCEEDED
        message = f"The best is trial {best.index}, {best.fine_tuned_model}: {why}"
        events.append(session, sweep, message, trial=best.index, value=best.value)
        return
    sweep.state = SweepState.FAILED
    sweep.error_message = _describe_failure(trials, sweep.metric)
    events.append(session, sweep, sweep.error_message, level=EventLevel.ERROR)


def cancel(session: Session, project_id: str, sweep_id: str, *, by: Actor = Actor.OWNER) -> Sweep:
    """Cancel a running sweep and its unfinished jobs; the models of finished ones stay. Idempotent.

    Raises NotFound, and InvalidRequest for a sweep that has succeeded or failed.
    """
    sweep = lock_sweep(session, project_id, sweep_id)
    if sweep.state == SweepState.CANCELLED:
        return sweep
    if sweep.state != SweepState.RUNNING:
        raise InvalidRequest(
            f"Sweep {sweep_id} has already {sweep.state} and cannot be cancelled: only a sweep "
            "that is running can.",
            param="sweep_id",
        )
    _cancel_trials(session, sweep, by)
    sweep.state, sweep.finished_at = SweepState.CANCELLED, func.clock_timestamp()
    events.append(session, sweep, f"The sweep has been cancelled{by.suffix}")
    return sweep


def _cancel_trials(session: Session, sweep: Sweep, by: Actor) -> None:
    trials = outcomes.list_trials(session, sweep.id)
    # Locked, or a job could end between this query and its cancellation.
    running = session.scalars(
        select(Job.id)
        .where(
            Job.id.in_([t.job_id for t in trials if t.state == TrialState.RUNNING]),
            Job.state.not_in(TERMINAL_STATES),
        )
        .order_by(Job.id)
        .with_for_update()
    ).all()
    # Jobs that have ended since the sweep was last advanced keep their results.
    outcomes.record_ended_jobs(session, sweep, trials)
    for job_id in running:
        jobs.cancel(session, sweep.project_id, job_id, by=by)
    for trial in trials:
        if trial.state in choice.UNFINISHED:
            trial.state = TrialState.CANCELLED
    session.flush()


def _describe_failure(trials: Sequence[SweepTrial], metric: str) -> str:
    counts = choice.describe_others(trials)
    reason = next((trial.error_message for trial in trials if trial.error_message), None)
    first = f" The first reason: {reason}" if reason else ""
    return f"No trial has finished with {metric}: {counts}.{first}"
