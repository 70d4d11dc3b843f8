"""Request and response bodies of stored chat completions."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from app.wire.base import CursorListing, Metadata
from app.wire.chat import ChatCompletionChoice
from app.wire.sampling import Usage


class StoredChatCompletion(BaseModel):
    """An answer as it was sent; `usage` of a stream only if the request asked for it."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatCompletionChoice]
    usage: Usage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    metadata: dict[str, str]


class StoredCompletionList(CursorListing):
    data: list[StoredChatCompletion]


class StoredMessage(BaseModel):
    """A message of the request. Either `content` or `content_parts` is null."""

    model_config = ConfigDict(extra="allow")

    id: str
    role: str
    content: str | None
    content_parts: list[dict[str, Any]] | None
    name: str | None = None


class StoredMessageList(CursorListing):
    data: list[StoredMessage]


class UpdateStoredCompletion(BaseModel):
    """POST /v1/chat/completions/{completion_id}."""

    metadata: Metadata | None


class StoredCompletionDeleted(BaseModel):
    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    id: str
    deleted: Literal[True] = True
