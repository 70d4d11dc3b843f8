"""Create, get, list, update and delete evals."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import orjson
from sqlalchemy import func, null, select
from sqlalchemy.orm import Session

from app import ids
from app.auth import projects
from app.catalog import Catalog
from app.db import pagination
from app.db.pagination import Page
from app.db.tables import Eval, EvalRun
from app.errors import InvalidRequest, NotFound
from app.evals import criterion_checks, data_sources, deletion, judges, variables
from app.evals.criteria import TestingCriterion
from app.evals.schemas import CreateEval, UpdateEval
from app.graders.formula_checks import check_formula

# Of a project. Together with the size of each, a bound on the rows that one may fill.
MAX_EVALS = 1000
MAX_EVAL_BYTES = 256 * 1024


def create(session: Session, catalog: Catalog, project_id: str, body: CreateEval) -> Eval:
    """Create an eval. Raises ModelNotFound, Forbidden, and InvalidRequest naming the parameter."""
    config = data_sources.build_config(body.data_source_config)
    criteria = [_with_id(criterion) for criterion in body.testing_criteria]
    _check_size(config, criteria)
    for index, criterion in enumerate(body.testing_criteria):
        check_criterion(
            session, catalog, project_id, criterion, config, f"testing_criteria[{index}]"
        )
    projects.lock_active(session, project_id)
    _check_quota(session, project_id)
    row = Eval(
        id=ids.eval_id(),
        project_id=project_id,
        name=body.name or "",
        data_source_config=config,
        testing_criteria=criteria,
    )
    # Left unset rather than None, which would store JSON null instead of SQL NULL.
    if body.metadata is not None:
        row.user_metadata = body.metadata
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def check_criterion(
    session: Session,
    catalog: Catalog,
    project_id: str,
    criterion: TestingCriterion,
    config: Mapping[str, Any],
    param: str,
) -> None:
    """Check a criterion over a data source. Raises ModelNotFound, and InvalidRequest naming the
    place in `param`."""
    for place, template in variables.list_templates(criterion, param):
        variables.check_template(place, template, config)
    criterion_checks.check(criterion, param)
    check_formula(criterion, param=param)
    judges.check_models(session, catalog, project_id, criterion, param)


def get(
    session: Session,
    project_id: str,
    eval_id: str,
    *,
    lock: bool = False,
    share_lock: bool = False,
) -> Eval:
    """Get a project's eval. Raises NotFound, also for another project's."""
    statement = select(Eval).where(
        Eval.id == eval_id, Eval.project_id == project_id, Eval.deleted_at.is_(None)
    )
    if lock or share_lock:
        statement = statement.with_for_update(read=share_lock).execution_options(
            populate_existing=True
        )
    row = session.scalars(statement).one_or_none()
    if row is None:
        raise NotFound(f"Could not find eval: {eval_id}", param="eval_id", code="eval_not_found")
    return row


def list_evals(
    session: Session,
    project_id: str,
    *,
    after: str | None,
    limit: int,
    oldest_first: bool,
    order_by: str,
) -> Page[Eval]:
    """List a page of a project's evals, by when they were created or updated."""
    all_evals = select(Eval).where(Eval.project_id == project_id)
    return pagination.fetch_page_by_age(
        session,
        all_evals.where(Eval.deleted_at.is_(None)),
        cursor_rows=all_evals,
        after=after,
        limit=limit,
        oldest_first=oldest_first,
        by=order_by,
    )


def update(session: Session, project_id: str, eval_id: str, body: UpdateEval) -> Eval:
    """Change the name and the metadata of an eval. Raises NotFound."""
    row = get(session, project_id, eval_id, lock=True)
    if body.name is not None:
        row.name = body.name
    if "metadata" in body.model_fields_set:
        row.user_metadata = null() if body.metadata is None else body.metadata
    row.updated_at = func.clock_timestamp()
    session.flush()
    session.refresh(row)
    return row


def delete(session: Session, project_id: str, eval_id: str) -> None:
    """Delete an eval with its runs, and erase its content. Raises NotFound."""
    row = get(session, project_id, eval_id, lock=True)
    deletion.erase_runs(session, EvalRun.eval_id == eval_id)
    row.deleted_at = func.clock_timestamp()
    row.name = ""
    row.user_metadata = null()
    row.data_source_config = {}
    row.testing_criteria = []


def _with_id(criterion: TestingCriterion) -> dict[str, Any]:
    fields: dict[str, Any] = criterion.model_dump(mode="json", exclude_none=True)
    return {**fields, "id": f"{criterion.name}-{uuid4()}"}


def _check_size(config: dict[str, Any], criteria: list[dict[str, Any]]) -> None:
    size = len(orjson.dumps(config)) + len(orjson.dumps(criteria))
    if size > MAX_EVAL_BYTES:
        raise InvalidRequest(
            f"The schema and the criteria of an eval have at most {MAX_EVAL_BYTES:,} bytes of "
            f"JSON, but these have {size:,}.",
            param="testing_criteria",
            code="string_above_max_length",
        )


def _check_quota(session: Session, project_id: str) -> None:
    # Concurrent requests may exceed it by a few.
    count = select(func.count()).where(Eval.project_id == project_id, Eval.deleted_at.is_(None))
    if session.scalars(count).one() >= MAX_EVALS:
        raise InvalidRequest(
            f"This project already has its maximum of {MAX_EVALS:,} evals. Delete some first.",
            code="eval_limit_exceeded",
        )
