"""Conversations: create, get, update, delete; append, list, get and delete their items."""

from collections.abc import Mapping, Sequence
from typing import Literal

import orjson
from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session, undefer

from app import ids
from app.db import pagination
from app.db.pagination import Page
from app.db.tables import Conversation, ConversationItem
from app.errors import InvalidRequest, NotFound
from app.files import quota
from app.settings import Settings
from app.wire.base import MAX_PAGE_BYTES
from app.wire.items import MAX_ITEMS, AnyItem, ItemDict, ItemReference, to_wire

# Of the row itself, so that empty conversations count too.
ROW_BYTES = 200


def create(
    session: Session,
    settings: Settings,
    project_id: str,
    *,
    items: Sequence[AnyItem],
    metadata: Mapping[str, str],
) -> Conversation:
    """Create a conversation with its first items. Raises InvalidRequest, StorageQuotaExceeded."""
    row = Conversation(
        id=ids.conversation_id(),
        project_id=project_id,
        user_metadata=dict(metadata),
        last_number=0,
        items=0,
        bytes=ROW_BYTES + _metadata_bytes(metadata),
    )
    session.add(row)
    session.flush()
    if items:
        append(session, settings, row, identify(items))
    else:
        quota.check_declared(session, project_id, settings, size=0)
    return row


def get(
    session: Session, project_id: str, conversation_id: str, *, lock: bool = False
) -> Conversation:
    """Get a conversation; with `lock`, nobody else changes it until the transaction ends.

    Raises NotFound.
    """
    statement = select(Conversation).where(
        Conversation.id == conversation_id, Conversation.project_id == project_id
    )
    if lock:
        statement = statement.with_for_update()
    row = session.scalars(statement).one_or_none()
    if row is None:
        raise NotFound(
            f"Conversation with id '{conversation_id}' not found.", param="conversation_id"
        )
    return row


def update_metadata(
    session: Session, project_id: str, conversation_id: str, metadata: Mapping[str, str] | None
) -> Conversation:
    """Replace the metadata of a conversation. Raises NotFound."""
    row = get(session, project_id, conversation_id, lock=True)
    new = dict(metadata or {})
    row.bytes += _metadata_bytes(new) - _metadata_bytes(row.user_metadata)
    row.user_metadata = new
    _touch(row)
    return row


def delete_conversation(session: Session, project_id: str, conversation_id: str) -> None:
    """Delete a conversation with its items. Raises NotFound."""
    session.delete(get(session, project_id, conversation_id, lock=True))


def identify(items: Sequence[AnyItem]) -> list[ItemDict]:
    """Give items their form on the wire, and new ids to those that have none.

    Raises InvalidRequest for references, which are no items.
    """
    identified: list[ItemDict] = []
    for number, item in enumerate(items):
        if isinstance(item, ItemReference):
            raise InvalidRequest(
                "A conversation cannot have references to items. Send the item itself.",
                param=f"items[{number}]",
            )
        identified.append(to_wire(item, ids.item_id(item.type)))
    return identified


def append(
    session: Session, settings: Settings, conversation: Conversation, items: Sequence[ItemDict]
) -> None:
    """Append items, in their form on the wire, to a conversation that was got with `lock`.

    Raises InvalidRequest if there are too many or an id is there already, and
    StorageQuotaExceeded.
    """
    _check_new_ids(session, conversation, [item["id"] for item in items])
    bodies = [orjson.dumps(item) for item in items]
    size = sum(map(len, bodies))
    _check_room(settings, conversation, items=len(items), size=size)
    for item, body in zip(items, bodies, strict=True):
        conversation.last_number += 1
        row = ConversationItem(
            conversation_id=conversation.id,
            number=conversation.last_number,
            id=item["id"],
            body=body,
            bytes=len(body),
        )
        session.add(row)
    conversation.items += len(items)
    conversation.bytes += size
    _touch(conversation)
    # Counted by the trigger when the session flushes its rows.
    session.flush()
    quota.check_declared(session, conversation.project_id, settings, size=0)


def list_context(session: Session, conversation: Conversation) -> list[ItemDict]:
    """List all items of a conversation, oldest first; `append` bounds their number and size."""
    bodies = (
        select(ConversationItem.body)
        .where(ConversationItem.conversation_id == conversation.id)
        .order_by(ConversationItem.number)
    )
    return [orjson.loads(body) for body in session.scalars(bodies)]


def list_items(
    session: Session,
    project_id: str,
    conversation_id: str,
    *,
    order: Literal["asc", "desc"],
    after: str | None,
    limit: int,
) -> Page[ConversationItem]:
    """List a page of items with their bodies; it ends after MAX_PAGE_BYTES. Raises NotFound."""
    get(session, project_id, conversation_id)
    of_conversation = _select_items(conversation_id)
    page = pagination.fetch_page_by_age(
        session,
        of_conversation,
        cursor_rows=of_conversation,
        after=after,
        limit=limit,
        oldest_first=order == "asc",
        by="number",
    )
    rows: list[ConversationItem] = []
    size = 0
    for row in page.rows:
        size += row.bytes
        if rows and size > MAX_PAGE_BYTES:
            break
        rows.append(row)
    numbers = ConversationItem.number.in_([row.number for row in rows])
    with_bodies = of_conversation.where(numbers).options(undefer(ConversationItem.body))
    # Into the rows that the session has already.
    session.scalars(with_bodies.execution_options(populate_existing=True)).all()
    return Page(rows, page.has_more or len(rows) < len(page.rows))


def get_item(
    session: Session, project_id: str, conversation_id: str, item_id: str
) -> ConversationItem:
    """Get an item with its body. Raises NotFound."""
    get(session, project_id, conversation_id)
    statement = _select_items(conversation_id).where(ConversationItem.id == item_id)
    with_body = statement.options(undefer(ConversationItem.body))
    row = session.scalars(with_body).one_or_none()
    if row is None:
        raise _no_item(conversation_id, item_id)
    return row


def delete_item(
    session: Session, project_id: str, conversation_id: str, item_id: str
) -> Conversation:
    """Delete an item, and return its conversation. Raises NotFound."""
    conversation = get(session, project_id, conversation_id, lock=True)
    statement = delete(ConversationItem).where(
        ConversationItem.conversation_id == conversation_id, ConversationItem.id == item_id
    )
    deleted = session.scalars(statement.returning(ConversationItem.bytes)).all()
    if not deleted:
        raise _no_item(conversation_id, item_id)
    conversation.items -= len(deleted)
    conversation.bytes -= sum(deleted)
    _touch(conversation)
    return conversation


def _select_items(conversation_id: str) -> Select[ConversationItem]:
    return select(ConversationItem).where(ConversationItem.conversation_id == conversation_id)


def _touch(conversation: Conversation) -> None:
    conversation.updated_at = func.clock_timestamp()


def _metadata_bytes(metadata: Mapping[str, str]) -> int:
    return len(orjson.dumps(dict(metadata)))


def _check_new_ids(session: Session, conversation: Conversation, new: Sequence[str]) -> None:
    known = select(ConversationItem.id).where(
        ConversationItem.conversation_id == conversation.id, ConversationItem.id.in_(new)
    )
    seen = set(session.scalars(known))
    for id in new:
        if id in seen:
            raise InvalidRequest(
                f"Duplicate item found with id {id}. Remove duplicate items from your input and "
                "try again.",
                param="items",
            )
        seen.add(id)


def _check_room(settings: Settings, conversation: Conversation, *, items: int, size: int) -> None:
    """Raise InvalidRequest for a conversation larger than a request that sends it may be."""
    if conversation.items + items > MAX_ITEMS:
        raise InvalidRequest(
            f"A conversation has at most {MAX_ITEMS} items, and this one has "
            f"{conversation.items}. Delete some, or begin another conversation.",
            param="items",
        )
    if conversation.bytes + size > settings.max_body_bytes:
        raise InvalidRequest(
            f"A conversation has at most {settings.max_body_bytes} bytes, and this one has "
            f"{conversation.bytes}. Delete items, or begin another conversation.",
            param="items",
        )


def _no_item(conversation_id: str, item_id: str) -> NotFound:
    return NotFound(
        f"Item with id '{item_id}' not found in the conversation '{conversation_id}'.",
        param="item_id",
    )
