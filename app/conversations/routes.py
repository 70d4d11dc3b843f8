"""Routes of /v1/conversations."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from app.conversations import serializers, service
from app.conversations.schemas import (
    ConversationDeleted,
    ConversationItemList,
    ConversationItemObject,
    ConversationObject,
    CreateConversation,
    CreateItems,
    Includable,
    UpdateConversation,
)
from app.http.dependencies import AfterCursor, AppStateDep, PrincipalDep, ReadSessionDep, SessionDep
from app.http.idempotency import IDEMPOTENT, IDEMPOTENT_BY_KEY, IdempotentRoute

router = APIRouter(prefix="/v1/conversations", tags=["conversations"], route_class=IdempotentRoute)

Limit = Annotated[int, Query(ge=0, le=100)]
Include = Annotated[
    list[Includable] | None,
    Query(description="Accepted for compatibility; no item here has these parts.", max_length=20),
]


@router.post("", dependencies=[IDEMPOTENT])
def create(
    state: AppStateDep,
    principal: PrincipalDep,
    session: SessionDep,
    body: CreateConversation | None = None,
) -> ConversationObject:
    """Create a conversation, with up to 20 items."""
    body = body or CreateConversation()
    row = service.create(
        session,
        state.settings,
        principal.project_id,
        items=body.items or [],
        metadata=body.metadata or {},
    )
    return serializers.serialize_conversation(row)


@router.get("/{conversation_id}")
def retrieve(
    conversation_id: str, principal: PrincipalDep, session: ReadSessionDep
) -> ConversationObject:
    row = service.get(session, principal.project_id, conversation_id)
    return serializers.serialize_conversation(row)


@router.post("/{conversation_id}", dependencies=[IDEMPOTENT_BY_KEY])
def update(
    conversation_id: str, body: UpdateConversation, principal: PrincipalDep, session: SessionDep
) -> ConversationObject:
    """Replace the metadata of a conversation."""
    row = service.update_metadata(session, principal.project_id, conversation_id, body.metadata)
    return serializers.serialize_conversation(row)


@router.delete("/{conversation_id}")
def delete(
    conversation_id: str, principal: PrincipalDep, session: SessionDep
) -> ConversationDeleted:
    """Delete a conversation with its items."""
    service.delete_conversation(session, principal.project_id, conversation_id)
    return ConversationDeleted(id=conversation_id)


@router.post(
    "/{conversation_id}/items",
    dependencies=[IDEMPOTENT],
    responses={200: {"model": ConversationItemList}},
)
def create_items(
    conversation_id: str,
    body: CreateItems,
    state: AppStateDep,
    principal: PrincipalDep,
    session: SessionDep,
    include: Include = None,
) -> Response:
    """Append up to 20 items to a conversation."""
    row = service.get(session, principal.project_id, conversation_id, lock=True)
    items = service.identify(body.items)
    service.append(session, state.settings, row, items)
    page = serializers.list_items(items, [item["id"] for item in items], has_more=False)
    return _respond(page)


@router.get("/{conversation_id}/items", responses={200: {"model": ConversationItemList}})
def list_items(
    conversation_id: str,
    principal: PrincipalDep,
    session: ReadSessionDep,
    after: AfterCursor = None,
    limit: Limit = 20,
    order: Literal["asc", "desc"] = "desc",
    include: Include = None,
) -> Response:
    """List the items of a conversation, newest first by default."""
    page = service.list_items(
        session, principal.project_id, conversation_id, order=order, after=after, limit=limit
    )
    bodies, ids = [row.body for row in page.rows], [row.id for row in page.rows]
    return _respond(serializers.list_items(bodies, ids, has_more=page.has_more))


@router.get(
    "/{conversation_id}/items/{item_id}", responses={200: {"model": ConversationItemObject}}
)
def retrieve_item(
    conversation_id: str,
    item_id: str,
    principal: PrincipalDep,
    session: ReadSessionDep,
    include: Include = None,
) -> Response:
    row = service.get_item(session, principal.project_id, conversation_id, item_id)
    return _respond(row.body)


@router.delete("/{conversation_id}/items/{item_id}")
def delete_item(
    conversation_id: str, item_id: str, principal: PrincipalDep, session: SessionDep
) -> ConversationObject:
    """Delete an item; the answer is its conversation."""
    row = service.delete_item(session, principal.project_id, conversation_id, item_id)
    return serializers.serialize_conversation(row)


def _respond(content: bytes) -> Response:
    # Stored as it is sent.
    return Response(content, media_type="application/json")
