"""Routes of stored chat completions."""

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response

from app.http.dependencies import AfterCursor, AppStateDep, PrincipalDep, ReadSessionDep, SessionDep
from app.http.query_params import METADATA_PARAMETER, parse_metadata_filter
from app.http.strict_json import StrictRoute
from app.stored_completions import serializers, service
from app.stored_completions.dependencies import CompletionRecorderDep
from app.stored_completions.schemas import (
    StoredChatCompletion,
    StoredCompletionDeleted,
    StoredCompletionList,
    StoredMessageList,
    UpdateStoredCompletion,
)
from app.stored_completions.service import CompletionFilter

router = APIRouter(prefix="/v1/chat/completions", tags=["chat"], route_class=StrictRoute)

Limit = Annotated[int, Query(ge=0, le=100)]
Order = Literal["asc", "desc"]


@router.get(
    "",
    openapi_extra={"parameters": [METADATA_PARAMETER]},
    responses={200: {"model": StoredCompletionList}},
)
def list_stored(
    request: Request,
    state: AppStateDep,
    recorder: CompletionRecorderDep,
    principal: PrincipalDep,
    session: ReadSessionDep,
    model: Annotated[str | None, Query(max_length=256)] = None,
    after: AfterCursor = None,
    limit: Limit = 20,
    order: Order = "asc",
) -> Response:
    """List stored chat completions, oldest first."""
    # The list must have what this process has just answered.
    recorder.flush()
    name = service.resolve_name(session, state.catalog, principal.project_id, model)
    chosen = CompletionFilter(name, parse_metadata_filter(request))
    page = service.list_completions(
        session, principal.project_id, chosen, order=order, after=after, limit=limit
    )
    data = [service.response_of(row) for row in page.rows]
    return _respond(
        {
            "object": "list",
            "data": data,
            "first_id": page.rows[0].id if page.rows else None,
            "last_id": page.rows[-1].id if page.rows else None,
            "has_more": page.has_more,
        }
    )


@router.get("/{completion_id}", responses={200: {"model": StoredChatCompletion}})
def retrieve_stored(
    completion_id: str,
    recorder: CompletionRecorderDep,
    principal: PrincipalDep,
    session: ReadSessionDep,
) -> Response:
    """Get a stored chat completion."""
    recorder.flush()
    row = service.get(session, principal.project_id, completion_id)
    return _respond(service.response_of(row))


@router.post("/{completion_id}", responses={200: {"model": StoredChatCompletion}})
def update_stored(
    completion_id: str,
    body: UpdateStoredCompletion,
    recorder: CompletionRecorderDep,
    principal: PrincipalDep,
    session: SessionDep,
) -> Response:
    """Replace the metadata of a stored chat completion; nothing else can be changed."""
    recorder.flush()
    row = service.update_metadata(session, principal.project_id, completion_id, body.metadata)
    return _respond(service.response_of(row))


@router.delete("/{completion_id}")
def delete_stored(
    completion_id: str,
    recorder: CompletionRecorderDep,
    principal: PrincipalDep,
    session: SessionDep,
) -> StoredCompletionDeleted:
    """Delete a stored chat completion, with its request."""
    recorder.flush()
    service.delete_completion(session, principal.project_id, completion_id)
    return StoredCompletionDeleted(id=completion_id)


@router.get("/{completion_id}/messages")
def list_messages(
    completion_id: str,
    recorder: CompletionRecorderDep,
    principal: PrincipalDep,
    session: ReadSessionDep,
    after: AfterCursor = None,
    limit: Limit = 20,
    order: Order = "asc",
) -> StoredMessageList:
    """List the messages of the request that a stored chat completion answers."""
    recorder.flush()
    row = service.get(session, principal.project_id, completion_id)
    return serializers.list_messages(row, order=order, after=after, limit=limit)


def _respond(content: dict[str, Any]) -> Response:
    # Not as a model: engines of other kinds leave out fields that the schema has.
    return Response(orjson.dumps(content), media_type="application/json")
