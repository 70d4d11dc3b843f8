"""Routes of /v1/batches."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from app.batches import counts, serializers, service
from app.batches.schemas import BatchList, BatchObject, CreateBatch
from app.db.tables import Batch
from app.http.dependencies import AfterCursor, AppStateDep, PrincipalDep, ReadSessionDep, SessionDep
from app.http.idempotency import IDEMPOTENT, IDEMPOTENT_BY_KEY, IdempotentRoute
from app.wire.base import fill_page, page_cursors

router = APIRouter(prefix="/v1/batches", tags=["batches"], route_class=IdempotentRoute)

Limit = Annotated[int, Query(ge=0, le=100)]


@router.post("", dependencies=[IDEMPOTENT])
def create(
    body: CreateBatch, state: AppStateDep, principal: PrincipalDep, session: SessionDep
) -> BatchObject:
    """Create a batch from an uploaded file of requests, which is checked first."""
    batch = service.create(
        session, state.settings, principal.project_id, body, api_key_id=principal.key_id
    )
    return _serialize(session, batch)


@router.get("")
def list_batches(
    principal: PrincipalDep,
    session: ReadSessionDep,
    after: AfterCursor = None,
    limit: Limit = 20,
) -> BatchList:
    """List batches, newest first."""
    page = service.list_batches(session, principal.project_id, after=after, limit=limit)
    counted = counts.count(session, page.rows)
    batches = (serializers.serialize_batch(row, counted[row.id]) for row in page.rows)
    data, has_more = fill_page(batches, has_more=page.has_more)
    return BatchList(data=data, has_more=has_more, **page_cursors(data))


@router.get("/{batch_id}")
def retrieve(batch_id: str, principal: PrincipalDep, session: ReadSessionDep) -> BatchObject:
    return _serialize(session, service.get(session, principal.project_id, batch_id))


@router.post("/{batch_id}/cancel", dependencies=[IDEMPOTENT_BY_KEY])
def cancel(batch_id: str, principal: PrincipalDep, session: SessionDep) -> BatchObject:
    """Cancel a batch that is being checked or in progress. What was answered is kept."""
    batch = service.cancel(session, principal.project_id, batch_id)
    session.refresh(batch)
    return _serialize(session, batch)


def _serialize(session: Session, batch: Batch) -> BatchObject:
    return serializers.serialize_batch(batch, counts.count(session, [batch])[batch.id])
