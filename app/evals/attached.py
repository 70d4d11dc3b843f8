"""Attached evals: when a job has succeeded, its base model and its own are run on the evals that it
names, and compared.

A periodic task advances each job by a transaction of its own, so that it goes on where a killed
process stopped.
"""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.catalog import Catalog
from app.db.tables import (
    Eval,
    EvalOutputItem,
    EvalRun,
    EvalRunState,
    EventLevel,
    Job,
    JobState,
    OutputItemStatus,
)
from app.errors import ApiError
from app.evals import comparison, runs
from app.evals.comparison import ItemResults
from app.evals.run_schemas import CreateEvalRun
from app.jobs import events
from app.jobs.events import NewEvent
from app.jobs.schemas import EvaluationStatus, JobEvaluation
from app.settings import Settings

BATCH_SIZE = 100
ENDED = (EvaluationStatus.COMPLETED, EvaluationStatus.FAILED)
ROLES = ("base", "tuned")


def find_due(session: Session) -> Sequence[str]:
    """Find jobs that have succeeded and whose evaluations have not ended."""
    due = (
        select(Job.id)
        .where(
            Job.state == JobState.SUCCEEDED,
            Job.evaluations.is_not(None),
            Job.evaluations_ended_at.is_(None),
        )
        .order_by(Job.finished_at)
        .limit(BATCH_SIZE)
    )
    return session.scalars(due).all()


def advance(session: Session, job_id: str, *, settings: Settings, catalog: Catalog) -> None:
    """Start the runs of a job's evaluations, or compare those that have ended.

    At most one is compared at a time, since that takes a while for thousands of items.
    """
    job = session.get(Job, job_id, with_for_update=True)
    if job is None or job.evaluations is None or job.evaluations_ended_at is not None:
        return
    evaluations = [JobEvaluation.model_validate(each) for each in job.evaluations]
    for number, evaluation in enumerate(evaluations):
        if evaluation.status == EvaluationStatus.QUEUED:
            _start(session, settings, catalog, job, number, evaluation)
        elif evaluation.status == EvaluationStatus.IN_PROGRESS:
            _conclude(session, job, number, evaluation)
            if evaluation.status in ENDED:
                break
    job.evaluations = [each.model_dump(mode="json") for each in evaluations]
    if all(each.status in ENDED for each in evaluations):
        job.evaluations_ended_at = func.clock_timestamp()
    session.flush()


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
            evaluation.base_run_id, evaluation.tuned_run_id = (
                runs.create(
                    session,
                    settings,
                    catalog,
                    job.project_id,
                    evaluation.eval_id,
                    _build_run(source, job, role, model),
                    api_key_id=source.api_key_id,
                ).id
                for role, model in zip(ROLES, models, strict=True)
            )
    except runs.TooManyOpenRuns:
        # Tried again when others have ended.
        return
    except ApiError as error:
        _fail(session, job, number, evaluation, error.message)
        return
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


def _conclude(session: Session, job: Job, number: int, evaluation: JobEvaluation) -> None:
    """Compare the models, if both runs have ended."""
    rows = [session.get(EvalRun, id) for id in (evaluation.base_run_id, evaluation.tuned_run_id)]
    base, tuned = (None if each is None or each.deleted_at is not None else each for each in rows)
    if base is None or tuned is None:
        _fail(session, job, number, evaluation, "A run of this evaluation is deleted.")
        return
    # The totals are there when the items are.
    if base.totals is None or tuned.totals is None:
        return
    for run in (base, tuned):
        if run.state != EvalRunState.COMPLETED:
            reason = f"The run {run.id} is {run.state}. {run.error_message or ''}".strip()
            _fail(session, job, number, evaluation, reason)
            return
    parent = session.get_one(Eval, evaluation.eval_id)
    names = {each["id"]: each["name"] for each in parent.testing_criteria}
    evaluation.result = comparison.compare(
        _read_results(session, base.id), _read_results(session, tuned.id), names
    )
    evaluation.status = EvaluationStatus.COMPLETED
    event = NewEvent(
        f"evaluated:{number}", _describe(evaluation), data=evaluation.result.model_dump()
    )
    events.append(session, job, [event])


def _read_results(session: Session, run_id: str) -> ItemResults:
    results = ItemResults()
    items = (
        select(EvalOutputItem.index, EvalOutputItem.status, EvalOutputItem.content)
        .where(EvalOutputItem.run_id == run_id)
        .execution_options(yield_per=20)
    )
    for index, status, content in session.execute(items):
        results.passed[index] = float(status == OutputItemStatus.PASS)
        for each in orjson.loads(content)["results"]:
            if "error" not in each:
                results.scores.setdefault(each["name"], {})[index] = each["score"]
    return results


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
