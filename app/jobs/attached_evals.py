"""Evals that a request for a job names: checked when the job is created."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog import CatalogModel, ModelKind
from app.db.tables import Eval, EvalRun
from app.errors import InvalidRequest
from app.jobs.schemas import CreateJob, JobEvaluation


def find(
    session: Session, base: CatalogModel, project_id: str, request: CreateJob
) -> list[dict[str, Any]] | None:
    """Find the evals of a request, each with the run whose items will be used.

    Raises InvalidRequest.
    """
    if not request.evaluations:
        return None
    if base.kind != ModelKind.CAUSAL:
        raise InvalidRequest(
            f"Invalid 'evaluations': {base.id} is an encoder, and evals compare the answers of "
            "chat models. Use test_file to measure the model of an encoder.",
            param="evaluations",
            code="invalid_value",
        )
    found = [
        _find_eval(session, project_id, each.eval_id, f"evaluations[{index}].eval_id")
        for index, each in enumerate(request.evaluations)
    ]
    return [each.model_dump(mode="json") for each in found]


def _find_eval(session: Session, project_id: str, eval_id: str, param: str) -> JobEvaluation:
    statement = select(Eval).where(
        Eval.id == eval_id, Eval.project_id == project_id, Eval.deleted_at.is_(None)
    )
    row = session.scalars(statement).one_or_none()
    if row is None:
        raise InvalidRequest(f"Could not find eval: {eval_id}", param=param, code="eval_not_found")
    newest = (
        select(EvalRun.id)
        .where(EvalRun.eval_id == eval_id, EvalRun.deleted_at.is_(None), EvalRun.model != "")
        .order_by(EvalRun.created_at.desc(), EvalRun.id.desc())
        .limit(1)
    )
    run_id = session.scalars(newest).one_or_none()
    if run_id is None:
        raise InvalidRequest(
            f"Invalid '{param}': the eval {eval_id} has no run that samples a model. The items and "
            "messages of its newest one are used: make one first, such as of the base model.",
            param=param,
            code="invalid_value",
        )
    return JobEvaluation(eval_id=eval_id, name=row.name, source_run_id=run_id)
