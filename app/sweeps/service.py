"""Create, get and list sweeps, and list their events."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import ids
from app.auth import projects
from app.db import pagination
from app.db.pagination import Page
from app.db.tables import (
    EventLevel,
    Sweep,
    SweepEvent,
    SweepState,
    SweepStrategy,
    SweepTrial,
    TrialState,
)
from app.errors import InvalidRequest, RateLimited
from app.jobs import file_checks, limits, option_checks, start_models
from app.jobs import service as jobs
from app.jobs.job_rules import JobRules
from app.jobs.schemas import CreateJob
from app.jobs.service import CheckedRequest
from app.jobs.unknown_fields import IgnoredFields, format_names
from app.sweeps import advance, events, lifecycle, metrics
from app.sweeps.planning import RESOURCE, plan_combinations
from app.sweeps.requests import METADATA_KEYS, build_request, to_stored_job
from app.sweeps.schemas import CreateSweep
from app.sweeps.space import Combination, build_param, check_space
from app.wire.base import MAX_METADATA_PAIRS

# Each makes work for the process that advances them, also while the project's queue is full.
MAX_RUNNING_SWEEPS = 8


class TooManyRunningSweeps(RateLimited):
    """This project has too many running sweeps. Retry when one has ended, or cancel one."""

    # The official SDKs retry for seconds only; a sweep takes longer to end.
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60", "x-should-retry": "false"}


def create(session: Session, rules: JobRules, project_id: str, body: CreateSweep) -> Sweep:
    """Create a sweep and its first jobs, once everything that it will create has been checked.

    Raises TooManyRunningSweeps, Forbidden, and InvalidRequest naming the parameter.
    """
    # The project's lock first, as wherever jobs are created.
    projects.lock_active(session, project_id)
    _check_running_sweeps(session, project_id)
    checked = _check_job(session, rules, project_id, body.job)
    metrics.check_metric(body.metric, body.job)
    metrics.check_shape(body.metric, checked.training)
    seed = ids.random_seed() if body.seed is None else body.seed
    job = to_stored_job(body.job, seed)
    axes = check_space(body.job, body.space)
    _check_comparable(body)
    combinations = plan_combinations(body.strategy, body.job, axes, body.max_jobs, seed)
    _check_combinations(session, rules, checked, job, body, combinations)
    sweep = _build_row(project_id, body, job, seed, checked)
    session.add(sweep)
    session.flush()
    trials = [
        SweepTrial(
            sweep_id=sweep.id,
            index=index,
            rung=0,
            hyperparameters=combination,
            state=TrialState.PENDING,
        )
        for index, combination in enumerate(combinations)
    ]
    session.add_all(trials)
    session.flush()
    _announce_created(session, sweep, trials, checked.ignored)
    advance.advance_locked(session, rules, sweep, trials)
    session.refresh(sweep)
    return sweep


def get(session: Session, project_id: str, sweep_id: str) -> Sweep:
    """Get a project's sweep. Raises NotFound, also for another project's."""
    statement = select(Sweep).where(Sweep.id == sweep_id, Sweep.project_id == project_id)
    sweep = session.scalars(statement).one_or_none()
    if sweep is None:
        raise lifecycle.build_sweep_not_found(sweep_id)
    return sweep


def list_sweeps(session: Session, project_id: str, *, after: str | None, limit: int) -> Page[Sweep]:
    """List a page of a project's sweeps, newest first."""
    sweeps = select(Sweep).where(Sweep.project_id == project_id)
    return pagination.fetch_page_by_age(
        session, sweeps, cursor_rows=sweeps, after=after, limit=limit
    )


def list_trials(session: Session, sweeps: Sequence[Sweep]) -> Mapping[str, list[SweepTrial]]:
    """List the trials of sweeps in order, by sweep."""
    trials: dict[str, list[SweepTrial]] = {sweep.id: [] for sweep in sweeps}
    statement = (
        select(SweepTrial)
        .where(SweepTrial.sweep_id.in_(trials))
        .order_by(SweepTrial.sweep_id, SweepTrial.index)
    )
    for trial in session.scalars(statement):
        trials[trial.sweep_id].append(trial)
    return trials


def list_events(
    session: Session, project_id: str, sweep_id: str, *, after: str | None, limit: int
) -> Page[SweepEvent]:
    """List a page of a sweep's events, newest first. Raises NotFound."""
    get(session, project_id, sweep_id)
    statement = select(SweepEvent).where(SweepEvent.sweep_id == sweep_id)
    if after is not None:
        cursor = pagination.find_cursor_row(session, statement.where(SweepEvent.id == after))
        if cursor is None:
            return pagination.EMPTY_PAGE
        statement = statement.where(SweepEvent.seq < cursor.seq)
    return pagination.fetch_page(session, statement.order_by(SweepEvent.seq.desc()), limit=limit)


def _check_running_sweeps(session: Session, project_id: str) -> None:
    # Serializes concurrent requests, so that each counts the sweeps that the others created.
    name = f"sweeps\n{project_id}"
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    running = select(func.count()).where(
        Sweep.project_id == project_id, Sweep.state == SweepState.RUNNING
    )
    if session.scalars(running).one() >= MAX_RUNNING_SWEEPS:
        raise TooManyRunningSweeps(
            f"This project already has its maximum of {MAX_RUNNING_SWEEPS} running sweeps. Try "
            "again when one has ended, or cancel one."
        )


def _check_job(
    session: Session, rules: JobRules, project_id: str, job: CreateJob
) -> CheckedRequest:
    given = job.metadata or {}
    most = MAX_METADATA_PAIRS - len(METADATA_KEYS)
    if len(given) > most or not given.keys().isdisjoint(METADATA_KEYS):
        raise InvalidRequest(
            f"Invalid 'job.metadata': a sweep adds {', '.join(METADATA_KEYS)} to it, so it has "
            f"none of these and at most {most} pairs.",
            param="job.metadata",
            code="invalid_value",
        )
    with _errors_of_job(job, {}, {}):
        checked = jobs.check(session, rules, project_id, job)
    _check_files(session, job, checked)
    return checked


def _check_files(session: Session, job: CreateJob, checked: CheckedRequest) -> None:
    """Refuse files for which every job of the sweep would fail, with the reason that it would have.

    A single job is created first, and fails as OpenAI's do; a sweep would create many.
    """
    files = (checked.training, checked.validation, checked.test)
    failure = file_checks.find_failure(job.method_type, *files)
    failure = failure or start_models.find_unknown_label(
        session, checked.start_model, job.method_type, checked.training
    )
    if failure is not None:
        param = None if failure.param is None else f"job.{failure.param}"
        raise InvalidRequest(failure.message, param=param, code=failure.code)


def _check_comparable(body: CreateSweep) -> None:
    name = metrics.find_not_comparable(body.metric, body.space)
    if name is not None:
        raise InvalidRequest(
            f"Invalid 'space.{name}': it changes what '{body.metric}' measures, so that the trials "
            "do not compare. Choose by another metric, or set it in the job.",
            param=f"space.{name}",
            code="invalid_value",
        )


def _check_combinations(
    session: Session,
    rules: JobRules,
    checked: CheckedRequest,
    job: Mapping[str, Any],
    body: CreateSweep,
    combinations: Sequence[Combination],
) -> None:
    """Check each combination as the request for its job will be, with the most epochs it gets."""
    for each in combinations:
        combination = dict(each)
        if body.strategy is SweepStrategy.HALVING:
            del combination[RESOURCE]
        request = build_request(job, combination, {})
        with _errors_of_job(body.job, body.space, combination):
            option_checks.check_options(session, rules, checked.base, checked.start_model, request)
            limits.check_token_limit(
                checked.base,
                checked.training,
                request.merge_hyperparameters(),
                max_tokens=rules.max_tokens,
            )


@contextmanager
def _errors_of_job(
    job: CreateJob, space: Mapping[str, Any], combination: Mapping[str, Any]
) -> Iterator[None]:
    """Name the parameter of an error as the sweep's request has it."""
    try:
        yield
    except InvalidRequest as error:
        param = error.error_param
        if param is None:
            raise
        name = param.rpartition("hyperparameters.")[2]
        is_varied = name in combination
        path = build_param(name, space[name], combination[name]) if is_varied else f"job.{param}"
        message = error.message.replace(f"'{param}'", f"'{path}'", 1)
        raise InvalidRequest(message, param=path, code=error.error_code) from error


def _build_row(
    project_id: str,
    body: CreateSweep,
    job: dict[str, Any],
    seed: int,
    checked: CheckedRequest,
) -> Sweep:
    assert checked.validation is not None
    sweep = Sweep(
        id=ids.sweep_id(),
        project_id=project_id,
        state=SweepState.RUNNING,
        strategy=body.strategy,
        job=job,
        space={name: v.model_dump(exclude_none=True) for name, v in body.space.items()},
        max_jobs=body.max_jobs,
        metric=body.metric,
        seed=seed,
        start_model=checked.start_model,
        training_file_id=checked.training.id,
        validation_file_id=checked.validation.id,
        test_file_id=None if checked.test is None else checked.test.id,
    )
    # Left unset rather than None, which would store JSON null instead of SQL NULL.
    if body.metadata is not None:
        sweep.user_metadata = body.metadata
    return sweep


def _announce_created(
    session: Session, sweep: Sweep, trials: Sequence[SweepTrial], ignored: IgnoredFields
) -> None:
    word = "trial" if len(trials) == 1 else "trials"
    message = f"Created sweep: {sweep.id}, {sweep.strategy}, {len(trials)} {word}"
    events.append(session, sweep, message)
    names = (*ignored.hyperparameters, *ignored.others)
    if names:
        message = f"Ignored fields of the job that its jobs do not use: {format_names(names)}"
        events.append(session, sweep, message, level=EventLevel.WARN)
