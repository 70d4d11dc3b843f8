"""Advance of sweeps: record the jobs that have ended, create the next ones, and end the sweep.

All of it is decided from the rows, under the lock of the sweep's row and in one transaction with
what it changes. So it may run at any time, anywhere and twice at once: a crash leaves either all of
a step or nothing, and no trial is lost or gets two jobs.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from app.auth import projects
from app.db.tables import (
    TERMINAL_STATES,
    Checkpoint,
    EventLevel,
    FineTunedModel,
    Job,
    JobState,
    Sweep,
    SweepState,
    SweepStrategy,
    SweepTrial,
    TrialState,
)
from app.errors import ApiError, Forbidden, TooManyQueuedJobs
from app.jobs import scheduling
from app.jobs import service as jobs
from app.sweeps import choice, events, halving, lifecycle, metrics
from app.sweeps.job_rules import JobRules
from app.sweeps.planning import RESOURCE
from app.sweeps.requests import build_request, build_tags

# Jobs of one sweep that wait for a trainer. Others of the project, created meanwhile, come after
# these few only, however many trials the sweep has.
MAX_WAITING_JOBS = 4
BATCH_SIZE = 100
WAITING_MESSAGE = (
    "The project has its maximum of queued jobs. The sweep continues when one has started"
)
DELETED_JOB_MESSAGE = "Its job was deleted."
DELETED_MODEL_MESSAGE = "Its model was deleted before the sweep ended."


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
    trials = list_trials(session, sweep.id)
    _record_ended_jobs(session, sweep, trials)
    _exclude_deleted_models(session, sweep, trials)
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


def list_trials(session: Session, sweep_id: str) -> list[SweepTrial]:
    statement = (
        select(SweepTrial)
        .where(SweepTrial.sweep_id == sweep_id)
        .order_by(SweepTrial.index)
        .execution_options(populate_existing=True)
    )
    return list(session.scalars(statement))


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


def _record_ended_jobs(session: Session, sweep: Sweep, trials: Sequence[SweepTrial]) -> None:
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    found = _find_jobs(session, running)
    for trial in running:
        job = found.get(trial.job_id or "")
        if job is None:
            _end(session, sweep, trial, TrialState.DELETED, DELETED_JOB_MESSAGE)
        elif job.state == JobState.SUCCEEDED:
            _record_success(session, sweep, trial, job)
        elif job.state == JobState.FAILED:
            _end(session, sweep, trial, TrialState.FAILED, job.error_message or "The job failed.")
        elif job.state == JobState.CANCELLED:
            _end(session, sweep, trial, TrialState.CANCELLED, "Its job was cancelled.")


def _find_jobs(session: Session, trials: Sequence[SweepTrial]) -> Mapping[str, Job]:
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


def _exclude_deleted_models(session: Session, sweep: Sweep, trials: Sequence[SweepTrial]) -> None:
    """Let no trial win, or be trained for longer, whose model its owner has deleted."""
    names = [t.fine_tuned_model for t in trials if t.state == TrialState.SUCCEEDED]
    kept = select(FineTunedModel.name).where(
        FineTunedModel.name.in_(names), FineTunedModel.deleted_at.is_(None)
    )
    existing = set(session.scalars(kept))
    for trial in trials:
        if trial.state == TrialState.SUCCEEDED and trial.fine_tuned_model not in existing:
            _end(session, sweep, trial, TrialState.DELETED, DELETED_MODEL_MESSAGE)


def _end(session: Session, sweep: Sweep, trial: SweepTrial, state: TrialState, reason: str) -> None:
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


def _start_jobs(
    session: Session, rules: JobRules, sweep: Sweep, trials: Sequence[SweepTrial]
) -> None:
    """Create jobs for pending trials, as far as the project's quota and the sweep's own allow."""
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    jobs_of_sweep = _find_jobs(session, running).values()
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
            rules.catalog,
            sweep.project_id,
            build_request(sweep.job, trial.hyperparameters, tags),
            max_queued=rules.max_queued,
            max_tokens=rules.max_tokens,
            wandb_policy=rules.wandb_policy,
        )
    except TooManyQueuedJobs:
        raise
    except ApiError as error:
        _end(session, sweep, trial, TrialState.FAILED, error.message)
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
