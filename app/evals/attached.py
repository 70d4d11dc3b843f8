"""Attached evals: when a job has succeeded, its base model and its own are run on the evals that it
names, and compared.

A periodic task advances each job by a transaction of its own, so that it goes on where a killed
process stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from app.catalog import Catalog
from app.db.tables import (
    Eval,
    EvalRun,
    EvalRunState,
    EventLevel,
    Job,
    JobState,
)
from app.errors import ApiError
from app.evals import comparison, item_scores, runs
from app.evals.item_reader import choose_completions
from app.evals.run_schemas import CreateEvalRun
from app.jobs import events
from app.jobs.events import NewEvent
from app.jobs.schemas import EvaluationResult, EvaluationStatus, JobEvaluation
from app.settings import Settings

BATCH_SIZE = 100
ENDED = (EvaluationStatus.COMPLETED, EvaluationStatus.FAILED)
ROLES = ("base", "tuned")


@dataclass(frozen=True, slots=True)
class _Compared:
    """The evaluation of a job whose runs were compared."""

    number: int
    result: EvaluationResult


def find_due(session: Session) -> Sequence[str]:
    """Find jobs that have succeeded and whose evaluations have not ended, in turn: those that
    wait must not keep others from being looked at."""
    due = (
        select(Job.id)
        .where(
            Job.state == JobState.SUCCEEDED,
            Job.evaluations.is_not(None),
            Job.evaluations_ended_at.is_(None),
        )
        .order_by(Job.evaluations_checked_at.nulls_first(), Job.finished_at)
        .limit(BATCH_SIZE)
    )
    return session.scalars(due).all()


def mark_checked(session: Session, job_id: str) -> None:
    """Put a job behind the others that wait, also if it could not be advanced."""
    session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(evaluations_checked_at=func.clock_timestamp())
        .execution_options(synchronize_session=False)
    )


def advance(session: Session, job_id: str, *, settings: Settings, catalog: Catalog) -> bool:
    """Start the runs of a job's evaluations, or compare those that have ended.

    At most one is compared, before the job is locked, since that takes a while for thousands of
    items; true if one was.
    """
    compared = _compare_next(session, job_id)
    job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None or job.evaluations is None or job.evaluations_ended_at is not None:
        return compared is not None
    evaluations = [JobEvaluation.model_validate(each) for each in job.evaluations]
    for number, evaluation in enumerate(evaluations):
        if evaluation.status == EvaluationStatus.QUEUED:
            _start(session, settings, catalog, job, number, evaluation)
        elif evaluation.status == EvaluationStatus.IN_PROGRESS:
            result = compared.result if compared and compared.number == number else None
            _conclude(session, job, number, evaluation, result)
    job.evaluations_checked_at = func.clock_timestamp()
    job.evaluations = [each.model_dump(mode="json") for each in evaluations]
    if all(each.status in ENDED for each in evaluations):
        job.evaluations_ended_at = func.clock_timestamp()
    session.flush()
    return compared is not None


def _compare_next(session: Session, job_id: str) -> _Compared | None:
    """Compare the models by the first evaluation whose runs have both completed."""
    for number, each in enumerate(session.scalar(_select_evaluations(job_id)) or ()):
        evaluation = JobEvaluation.model_validate(each)
        if evaluation.status != EvaluationStatus.IN_PROGRESS:
            continue
        runs_ = _get_runs(session, evaluation)
        if runs_ is None or any(run.state != EvalRunState.COMPLETED for run in runs_):
            continue
        base, tuned = runs_
        parent = session.get_one(Eval, evaluation.eval_id)
        names = {each["id"]: each["name"] for each in parent.testing_criteria}
        first, second = (item_scores.read(session, run.id, list(names)) for run in (base, tuned))
        return _Compared(number, comparison.compare(first, second, names))
    return None


def _select_evaluations(job_id: str) -> Select[Any]:
    return select(Job.evaluations).where(
        Job.id == job_id, Job.evaluations.is_not(None), Job.evaluations_ended_at.is_(None)
    )


def _get_runs(session: Session, evaluation: JobEvaluation) -> list[EvalRun] | None:
    """Get the runs of the base model and of the fine-tuned one, if neither is deleted."""
    ids = (evaluation.base_run_id, evaluation.tuned_run_id)
    rows = [session.get(EvalRun, id) for id in ids]
    found = [each for each in rows if each is not None and each.deleted_at is None]
    return found if len(found) == len(ids) else None


def _start(
    session: Session,
    settings: Settings,
    catalog: Catalog,
    job: Job,
    number: int,
    evaluation: JobEvaluation,
) -> None:
    source = session.get(EvalRun, evaluation.source_run_id)
    if source is None or source.deleted_at is not None:
        _fail(session, job, number, evaluation, "The run whose items were to be used is deleted.")
        return
    models = (job.start_model or job.base_model, job.fine_tuned_model)
    try:
        with session.begin_nested():
            base, tuned = (
                runs.create(
                    session,
                    settings,
                    catalog,
                    job.project_id,
                    evaluation.eval_id,
                    _build_run(source, job, role, model),
                    api_key_id=source.api_key_id,
                )
                for role, model in zip(ROLES, models, strict=True)
            )
            _share_completions(session, catalog, base, tuned)
    except runs.TooManyOpenRuns:
        # Tried again when others have ended.
        return
    except ApiError as error:
        _fail(session, job, number, evaluation, error.message)
        return
    evaluation.base_run_id, evaluation.tuned_run_id = base.id, tuned.id
    evaluation.status = EvaluationStatus.IN_PROGRESS
    message = f"Evaluating the base model and the fine-tuned one by {evaluation.eval_id}"
    data = {"base_run_id": evaluation.base_run_id, "tuned_run_id": evaluation.tuned_run_id}
    events.append(session, job, [NewEvent(f"evaluating:{number}", message, data=data)])


def _build_run(source: EvalRun, job: Job, role: str, model: str | None) -> CreateEvalRun:
    return CreateEvalRun.model_validate(
        {
            "name": f"{job.id} {role}",
            "metadata": {"job_id": job.id, "role": role},
            "data_source": {**source.data_source, "model": model},
        }
    )


def _share_completions(session: Session, catalog: Catalog, base: EvalRun, tuned: EvalRun) -> None:
    """Choose the stored completions once: more may be stored before the second run begins."""
    if base.data_source["source"]["type"] == "stored_completions":
        base.completion_ids = tuned.completion_ids = choose_completions(session, catalog, base)


def _conclude(
    session: Session,
    job: Job,
    number: int,
    evaluation: JobEvaluation,
    result: EvaluationResult | None,
) -> None:
    """End an evaluation with its result, or because its runs have none."""
    runs_ = _get_runs(session, evaluation)
    if runs_ is None:
        _fail(session, job, number, evaluation, "A run of this evaluation is deleted.")
        return
    # The totals are there when the items are.
    if any(run.totals is None for run in runs_):
        return
    for run in runs_:
        if run.state != EvalRunState.COMPLETED:
            reason = f"The run {run.id} is {run.state}. {run.error_message or ''}".strip()
            _fail(session, job, number, evaluation, reason)
            return
    if result is None:
        # Another was compared: this one is next time.
        return
    evaluation.result, evaluation.status = result, EvaluationStatus.COMPLETED
    event = NewEvent(f"evaluated:{number}", _describe(evaluation), data=result.model_dump())
    events.append(session, job, [event])


def _describe(evaluation: JobEvaluation) -> str:
    assert evaluation.result is not None
    rate: Any = evaluation.result.pass_rate
    name = evaluation.name or evaluation.eval_id
    if not rate.items:
        return f"Eval {name}: the runs have no items in common."
    low, high = (100 * each for each in rate.interval)
    return (
        f"Eval {name}: of {rate.items} items the fine-tuned model passes {rate.tuned:.1%}, the "
        f"base model {rate.base:.1%}: {100 * rate.difference:+.1f} points (95 % interval "
        f"{low:+.1f} to {high:+.1f})"
    )


def _fail(session: Session, job: Job, number: int, evaluation: JobEvaluation, reason: str) -> None:
    evaluation.status, evaluation.error = EvaluationStatus.FAILED, reason
    message = f"Eval {evaluation.name or evaluation.eval_id} was not computed: {reason}"
    event = NewEvent(f"evaluated:{number}", message, level=EventLevel.WARN)
    events.append(session, job, [event])
