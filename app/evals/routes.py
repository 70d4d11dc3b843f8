"""Routes of /v1/evals."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from app.errors import ModelNotFound
from app.evals import serializers, service
from app.evals.dependencies import CHECK_EVAL, CheckedEvalDep
from app.evals.schemas import EvalDeleted, EvalList, EvalObject, UpdateEval
from app.http.dependencies import AfterCursor, AppStateDep, PrincipalDep, ReadSessionDep, SessionDep
from app.http.idempotency import IDEMPOTENT, IDEMPOTENT_BY_KEY, IdempotentRoute
from app.http.openapi import error_responses
from app.wire.base import fill_page, page_cursors

router = APIRouter(prefix="/v1/evals", tags=["evals"], route_class=IdempotentRoute)

Limit = Annotated[int, Query(ge=0, le=100)]
Order = Annotated[Literal["asc", "desc"], Query(description="Oldest or newest first")]


# The schema is checked before the transaction is begun.
@router.post(
    "",
    status_code=201,
    dependencies=[CHECK_EVAL, IDEMPOTENT],
    responses=error_responses(ModelNotFound),
)
def create(
    body: CheckedEvalDep, state: AppStateDep, principal: PrincipalDep, session: SessionDep
) -> EvalObject:
    """Create an eval: the items' schema, and the criteria that each item is tested by."""
    row = service.create(session, state.catalog, principal.project_id, body)
    return serializers.serialize_eval(row)


@router.get("")
def list_evals(
    principal: PrincipalDep,
    session: ReadSessionDep,
    after: AfterCursor = None,
    limit: Limit = 20,
    order: Order = "asc",
    order_by: Literal["created_at", "updated_at"] = "created_at",
) -> EvalList:
    """List evals, oldest first by default."""
    page = service.list_evals(
        session,
        principal.project_id,
        after=after,
        limit=limit,
        oldest_first=order == "asc",
        order_by=order_by,
    )
    data, has_more = fill_page(map(serializers.serialize_eval, page.rows), has_more=page.has_more)
    return EvalList(data=data, has_more=has_more, **page_cursors(data))


@router.get("/{eval_id}")
def retrieve(eval_id: str, principal: PrincipalDep, session: ReadSessionDep) -> EvalObject:
    return serializers.serialize_eval(service.get(session, principal.project_id, eval_id))


@router.post("/{eval_id}", dependencies=[IDEMPOTENT_BY_KEY])
def update(
    eval_id: str, body: UpdateEval, principal: PrincipalDep, session: SessionDep
) -> EvalObject:
    """Change the name and the metadata of an eval."""
    return serializers.serialize_eval(service.update(session, principal.project_id, eval_id, body))


@router.delete("/{eval_id}")
def delete(eval_id: str, principal: PrincipalDep, session: SessionDep) -> EvalDeleted:
    service.delete(session, principal.project_id, eval_id)
    return EvalDeleted(deleted=True, eval_id=eval_id)
