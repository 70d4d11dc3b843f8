"""Serializers of stored completions: rows to wire objects."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import orjson

from app.db.tables import StoredCompletion
from app.stored_completions.schemas import StoredMessage, StoredMessageList
from app.wire.base import page_cursors


def list_messages(
    row: StoredCompletion, *, order: Literal["asc", "desc"], after: str | None, limit: int
) -> StoredMessageList:
    """A page of the messages of a completion's request; empty after an unknown one."""
    messages = list(_messages_of(row))
    if order == "desc":
        messages.reverse()
    if after is not None:
        ids = [message.id for message in messages]
        messages = messages[ids.index(after) + 1 :] if after in ids else []
    data = messages[:limit]
    return StoredMessageList(data=data, has_more=len(messages) > limit, **page_cursors(data))


def _messages_of(row: StoredCompletion) -> Iterable[StoredMessage]:
    request = orjson.loads(row.request)
    for number, message in enumerate(request["messages"]):
        # A message that was stored before and is sent again has an id.
        yield StoredMessage(**{**_describe(message), "id": f"{row.id}-{number}"})


def _describe(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    is_parts = isinstance(content, list)
    return {
        **message,
        "content": None if is_parts else content,
        "content_parts": content if is_parts else None,
    }
