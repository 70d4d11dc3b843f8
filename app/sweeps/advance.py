"""Advance of sweeps: record the jobs that have ended, create the next ones, and end the sweep.

All of it is decided from the rows, under the lock of the sweep's row and in one transaction with
what it changes. So it may run at any time, anywhere and twice at once: a crash leaves either all of
a step or nothing, and no trial is lost or gets two jobs.
"""

from collections.abc import Sequence

from pydantic import ValidationError
from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from app.auth import projects
from app.db.tables import (
    TERMINAL_STATES,
    Job,
    Sweep,
    SweepState,
    SweepStrategy,
    SweepTrial,
    TrialState,
)
from app.errors import ApiError, Forbidden, TooManyQueuedJobs
from app.jobs import scheduling
from app.jobs import service as jobs
from app.jobs.job_rules import JobRules
from app.sweeps import choice, events, halving, lifecycle, outcomes
from app.sweeps.planning import RESOURCE
from app.sweeps.requests import build_request, build_tags

# Jobs of one sweep that wait for a trainer. Others of the project, created meanwhile, come after
# these few only, however many trials the sweep has.
MAX_WAITING_JOBS = 4
BATCH_SIZE = 100
WAITING_MESSAGE = (
    "The project has its maximum of queued jobs. The sweep continues when one has started"
)


def find_due(session: Session) -> Sequence[str]:
    """Find running sweeps with something to do, those first that were advanced longest ago."""
    statement = (
        select(Sweep.id)
        .where(Sweep.state == SweepState.RUNNING, or_(_has_ended_job(), _can_start()))
        .order_by(Sweep.advanced_at)
        .limit(BATCH_SIZE)
    )
    return session.scalars(statement).all()


def advance(session: Session, rules: JobRules, sweep_id: str) -> None:
    """Advance a running sweep; ignore one that has ended."""
    project_id = session.scalar(select(Sweep.project_id).where(Sweep.id == sweep_id))
    if project_id is None:
        return
    # The project's lock first, as wherever jobs are created.
    try:
        projects.lock_active(session, project_id)
    except Forbidden:
        # Archived by a process of a version without sweeps.
        lifecycle.cancel(session, project_id, sweep_id)
        return
    sweep = lifecycle.lock_sweep(session, project_id, sweep_id)
    if sweep.state != SweepState.RUNNING:
        return
    trials = outcomes.list_trials(session, sweep.id)
    outcomes.record_ended_jobs(session, sweep, trials)
    outcomes.exclude_deleted_models(session, sweep, trials)
    advance_locked(session, rules, sweep, trials)


def advance_locked(
    session: Session, rules: JobRules, sweep: Sweep, trials: list[SweepTrial]
) -> None:
    """Create the next jobs of a locked sweep whose trials are up to date, or end it."""
    _start_jobs(session, rules, sweep, trials)
    # Trials whose jobs could not be created end a rung at once.
    while _add_rung(session, sweep, trials):
        _start_jobs(session, rules, sweep, trials)
    if all(trial.state not in choice.UNFINISHED for trial in trials):
        lifecycle.finish(session, sweep, trials)
    sweep.advanced_at = func.clock_timestamp()
    session.flush()


def _has_ended_job() -> ColumnElement[bool]:
    ended = (
        select(SweepTrial.index)
        .outerjoin(Job, Job.id == SweepTrial.job_id)
        .where(
            SweepTrial.sweep_id == Sweep.id,
            SweepTrial.state == TrialState.RUNNING,
            or_(Job.id.is_(None), Job.state.in_(TERMINAL_STATES)),
        )
    )
    return ended.exists()


def _can_start() -> ColumnElement[bool]:
    pending = select(SweepTrial.index).where(
        SweepTrial.sweep_id == Sweep.id, SweepTrial.state == TrialState.PENDING
    )
    waiting = (
        select(func.count())
        .select_from(SweepTrial)
        .join(Job, Job.id == SweepTrial.job_id)
        .where(SweepTrial.sweep_id == Sweep.id, Job.state.in_(scheduling.QUEUE_STATES))
        .scalar_subquery()
    )
    return and_(pending.exists(), waiting < MAX_WAITING_JOBS)


def _start_jobs(
    session: Session, rules: JobRules, sweep: Sweep, trials: Sequence[SweepTrial]
) -> None:
    """Create jobs for pending trials, as far as the project's quota and the sweep's own allow."""
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    jobs_of_sweep = outcomes.find_jobs(session, running).values()
    room = MAX_WAITING_JOBS - sum(job.state in scheduling.QUEUE_STATES for job in jobs_of_sweep)
    for trial in trials:
        if room <= 0:
            return
        if trial.state != TrialState.PENDING:
            continue
        try:
            room -= _start_job(session, rules, sweep, trial)
        except TooManyQueuedJobs:
            events.append_unless_last(session, sweep, WAITING_MESSAGE)
            return


def _start_job(session: Session, rules: JobRules, sweep: Sweep, trial: SweepTrial) -> bool:
    """Create the job of a trial; false if it can no longer be created, such as without its files.

    Raises TooManyQueuedJobs.
    """
    tags = build_tags(sweep, trial.index, trial.rung)
    try:
        job = jobs.create(
            session,
            rules,
            sweep.project_id,
            build_request(sweep.job, trial.hyperparameters, tags),
        )
    except TooManyQueuedJobs:
        raise
    except ApiError as error:
        outcomes.end_trial(session, sweep, trial, TrialState.FAILED, error.message)
        return False
    except ValidationError as error:
        # A later version may have narrower bounds than the one that stored the sweep.
        reason = f"Its request is no longer valid: {error.errors()[0]['msg']}."
        outcomes.end_trial(session, sweep, trial, TrialState.FAILED, reason)
        return False
    trial.job_id, trial.state = job.id, TrialState.RUNNING
    chosen = ", ".join(f"{name}={value}" for name, value in trial.hyperparameters.items())
    message = f"Trial {trial.index} is {job.id}, with {chosen}"
    events.append(session, sweep, message, trial=trial.index, job_id=job.id)
    return True


def _add_rung(session: Session, sweep: Sweep, trials: list[SweepTrial]) -> bool:
    """Add the trials of the next rung of successive halving once all of the last have ended."""
    if sweep.strategy != SweepStrategy.HALVING:
        return False
    rung = max(trial.rung for trial in trials)
    if any(trial.state in choice.UNFINISHED for trial in trials):
        return False
    rungs = halving.plan_rungs(
        max_jobs=sweep.max_jobs,
        n_epochs=_read_epochs(sweep),
        combinations=sum(trial.rung == 0 for trial in trials),
    )
    ranked = choice.rank([trial for trial in trials if trial.rung == rung], sweep.metric)
    survivors = ranked[: halving.count_survivors(rungs, rung, len(ranked))]
    added = [
        SweepTrial(
            sweep_id=sweep.id,
            index=len(trials) + number,
            rung=rung + 1,
            hyperparameters={**trial.hyperparameters, RESOURCE: rungs[rung + 1].n_epochs},
            state=TrialState.PENDING,
        )
        for number, trial in enumerate(survivors)
    ]
    if added:
        session.add_all(added)
        message = (
            f"Rung {rung + 1}: the best {len(added)} of {len(ranked)} are trained again, for "
            f"{rungs[rung + 1].n_epochs} epochs"
        )
        events.append(session, sweep, message, trials=[trial.index for trial in survivors])
        trials.extend(added)
    return bool(added)


def _read_epochs(sweep: Sweep) -> int:
    """Read the epochs of the last rung."""
    method = sweep.job["method"]["type"]
    return int(sweep.job["method"][method]["hyperparameters"][RESOURCE])
