"""Request and response bodies of conversations."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.wire.base import CursorListing, Metadata, UnixTime
from app.wire.items import ItemList

# OpenAI's limit on the items of one request.
MAX_NEW_ITEMS = 20
NewItems = Annotated[ItemList, Field(max_length=MAX_NEW_ITEMS)]

# OpenAI's values; all are of hosted tools, images or other parts that no item has here.
Includable = Literal[
    "web_search_call.action.sources",
    "web_search_call.results",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
]


class CreateConversation(BaseModel):
    """POST /v1/conversations."""

    model_config = ConfigDict(extra="forbid")

    items: NewItems | None = None
    metadata: Metadata | None = None


class UpdateConversation(BaseModel):
    """POST /v1/conversations/{conversation_id}."""

    model_config = ConfigDict(extra="forbid")

    metadata: Metadata | None


class CreateItems(BaseModel):
    """POST /v1/conversations/{conversation_id}/items."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[NewItems, Field(min_length=1)]


class ConversationObject(BaseModel):
    id: str
    object: Literal["conversation"] = "conversation"
    created_at: UnixTime
    metadata: dict[str, str]


class ConversationDeleted(BaseModel):
    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: Literal[True] = True


class ConversationItemObject(BaseModel):
    """A message, a call, its output, or reasoning, as in a response."""

    model_config = ConfigDict(extra="allow")

    id: str
    type: Literal["message", "function_call", "function_call_output", "reasoning"]
    status: Literal["in_progress", "completed", "incomplete"] | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: list[dict[str, Any]] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[dict[str, Any]] | None = None


class ConversationItemList(CursorListing):
    data: list[ConversationItemObject]
