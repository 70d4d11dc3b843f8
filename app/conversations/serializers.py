"""Serializers of conversations: rows to wire objects."""

from collections.abc import Sequence
from typing import Any

import orjson

from app.conversations.schemas import ConversationObject
from app.db.tables import Conversation
from app.wire.items import ItemDict


def serialize_conversation(row: Conversation) -> ConversationObject:
    fields = {"id": row.id, "created_at": row.created_at, "metadata": row.user_metadata}
    return ConversationObject.model_validate(fields)


def list_items(items: Sequence[ItemDict | bytes], ids: Sequence[str], *, has_more: bool) -> bytes:
    """A page of items, stored ones as they are."""
    data: list[Any] = [orjson.Fragment(item) if isinstance(item, bytes) else item for item in items]
    page = {
        "object": "list",
        "data": data,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
        "has_more": has_more,
    }
    return orjson.dumps(page)
