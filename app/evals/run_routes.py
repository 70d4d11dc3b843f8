"""Routes of /v1/evals/{eval_id}/runs."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from app.db.tables import EvalRun, EvalRunState, OutputItemStatus
from app.errors import ModelNotFound
from app.evals import runs, serializers, service, totals
from app.evals.dependencies import CHECK_RUN, CheckedRunDep
from app.evals.run_schemas import (
    EvalRunDeleted,
    EvalRunList,
    EvalRunObject,
    OutputItemList,
    OutputItemObject,
)
from app.http.dependencies import (
    AfterCursor,
    AppState,
    AppStateDep,
    PrincipalDep,
    ReadSessionDep,
    SessionDep,
)
from app.http.idempotency import IDEMPOTENT, IDEMPOTENT_BY_KEY, IdempotentRoute
from app.http.openapi import error_responses
from app.wire.base import fill_page, page_cursors

router = APIRouter(prefix="/v1/evals/{eval_id}/runs", tags=["evals"], route_class=IdempotentRoute)

Limit = Annotated[int, Query(ge=0, le=100)]
Order = Annotated[Literal["asc", "desc"], Query(description="Oldest or newest first")]


# The items are checked before the transaction is begun.
@router.post(
    "",
    status_code=201,
    dependencies=[CHECK_RUN, IDEMPOTENT],
    responses=error_responses(ModelNotFound),
)
def create_run(
    eval_id: str,
    body: CheckedRunDep,
    state: AppStateDep,
    principal: PrincipalDep,
    session: SessionDep,
) -> EvalRunObject:
    """Start a run: each item is sampled, if the source is `completions`, and graded."""
    row = runs.create(
        session,
        state.settings,
        state.catalog,
        principal.project_id,
        eval_id,
        body,
        api_key_id=principal.key_id,
    )
    return _serialize(session, state, row)


@router.get("")
def list_runs(
    eval_id: str,
    state: AppStateDep,
    principal: PrincipalDep,
    session: ReadSessionDep,
    after: AfterCursor = None,
    limit: Limit = 20,
    order: Order = "asc",
    status: EvalRunState | None = None,
) -> EvalRunList:
    """List the runs of an eval, oldest first by default."""
    parent = service.get(session, principal.project_id, eval_id)
    page = runs.list_runs(
        session,
        principal.project_id,
        eval_id,
        state=status,
        after=after,
        limit=limit,
        oldest_first=order == "asc",
    )
    sums = totals.read(session, page.rows)
    objects = (
        serializers.serialize_run(row, parent, sums[row.id], state.settings) for row in page.rows
    )
    data, has_more = fill_page(objects, has_more=page.has_more)
    return EvalRunList(data=data, has_more=has_more, **page_cursors(data))


@router.get("/{run_id}")
def retrieve_run(
    eval_id: str,
    run_id: str,
    state: AppStateDep,
    principal: PrincipalDep,
    session: ReadSessionDep,
) -> EvalRunObject:
    return _serialize(session, state, runs.get(session, principal.project_id, eval_id, run_id))


@router.post("/{run_id}", dependencies=[IDEMPOTENT_BY_KEY])
def cancel_run_of_older_clients(
    eval_id: str, run_id: str, state: AppStateDep, principal: PrincipalDep, session: SessionDep
) -> EvalRunObject:
    """Cancel a run, as clients of OpenAI's older API do."""
    return _serialize(session, state, runs.cancel(session, principal.project_id, eval_id, run_id))


@router.post("/{run_id}/cancel", dependencies=[IDEMPOTENT_BY_KEY])
def cancel_run(
    eval_id: str, run_id: str, state: AppStateDep, principal: PrincipalDep, session: SessionDep
) -> EvalRunObject:
    """Cancel a run. The results so far stay."""
    return _serialize(session, state, runs.cancel(session, principal.project_id, eval_id, run_id))


@router.delete("/{run_id}")
def delete_run(
    eval_id: str, run_id: str, principal: PrincipalDep, session: SessionDep
) -> EvalRunDeleted:
    """Delete a run in any state, with its output items."""
    runs.delete_run(session, principal.project_id, eval_id, run_id)
    return EvalRunDeleted(deleted=True, run_id=run_id)


@router.get("/{run_id}/output_items")
def list_output_items(
    eval_id: str,
    run_id: str,
    principal: PrincipalDep,
    session: ReadSessionDep,
    after: AfterCursor = None,
    limit: Limit = 20,
    order: Order = "asc",
    status: OutputItemStatus | None = None,
) -> OutputItemList:
    """List what the items of a run gave, in the order of its source."""
    run = runs.get(session, principal.project_id, eval_id, run_id)
    page = runs.list_items(
        session, run, status=status, after=after, limit=limit, oldest_first=order == "asc"
    )
    objects = (serializers.serialize_item(row, eval_id) for row in page.rows)
    data, has_more = list(objects), page.has_more
    return OutputItemList(data=data, has_more=has_more, **page_cursors(data))


@router.get("/{run_id}/output_items/{output_item_id}")
def retrieve_output_item(
    eval_id: str,
    run_id: str,
    output_item_id: str,
    principal: PrincipalDep,
    session: ReadSessionDep,
) -> OutputItemObject:
    run = runs.get(session, principal.project_id, eval_id, run_id)
    return serializers.serialize_item(runs.get_item(session, run, output_item_id), eval_id)


def _serialize(session: Session, state: AppState, row: EvalRun) -> EvalRunObject:
    parent = service.get(session, row.project_id, row.eval_id)
    sums = totals.read(session, [row])[row.id]
    return serializers.serialize_run(row, parent, sums, state.settings)
