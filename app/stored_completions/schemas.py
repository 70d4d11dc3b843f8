"""Request and response bodies of stored chat completions."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.db.tables import Rating
from app.files.schemas import FileObject
from app.stored_completions.training_rows import FeedbackFilter
from app.wire.base import CursorListing, Metadata
from app.wire.chat import ChatCompletionChoice
from app.wire.sampling import Usage


class CompletionFeedback(BaseModel):
    """Feedback on an answer: a rating, and the message that should have been the answer."""

    rating: Rating | None
    correction: dict[str, Any] | None


class StoredChatCompletion(BaseModel):
    """An answer as it was sent; `usage` of a stream only if the request asked for it.

    `feedback`, an extension, is there if any was given.
    """

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatCompletionChoice]
    usage: Usage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    metadata: dict[str, str]
    feedback: CompletionFeedback | None = None


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


class CreateFileFromCompletions(BaseModel):
    """POST /v1/files/from_stored_completions: the newest `limit` completions that match.

    Without `feedback`, all but those rated bad, and corrections in place of what they correct.
    """

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, max_length=256)
    metadata: Metadata | None = None
    feedback: FeedbackFilter | None = None
    limit: int = Field(10_000, ge=1, le=50_000)


class SkippedCompletion(BaseModel):
    """A completion that is no example; `reason` is a sentence."""

    id: str
    reason: str


class FileFromCompletions(FileObject):
    """The training file, and the completions that are not in it: their number, and the first."""

    examples: int
    skipped: int
    first_skipped: list[SkippedCompletion]
