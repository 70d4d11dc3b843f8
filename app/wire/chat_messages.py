"""Messages of a chat completion on the wire."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

# Rendering costs time for each message; more than any conversation needs. Examples of training
# files have the same limit.
MAX_MESSAGES = 2_048

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class ContentPart(BaseModel):
    """Part of a message: text, or an assistant's refusal."""

    model_config = ConfigDict(strict=True)

    type: str
    text: str | None = None
    refusal: str | None = None

    @model_validator(mode="after")
    def _check_text(self) -> Self:
        if self.type not in ("text", "refusal"):
            rule = "this model reads text only, not parts of type {type}"
            raise PydanticCustomError("not_text", rule, {"type": repr(self.type)})
        if getattr(self, self.type) is None:
            rule = "a part of type {type} needs the field {type}"
            raise PydanticCustomError("no_text", rule, {"type": repr(self.type)})
        return self


def _to_parts(content: Any) -> Any:
    """Normalize both forms of content to parts, so that errors name one form."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if content is None or isinstance(content, list):
        return content
    raise PydanticCustomError("content", "expected a text or a list of parts")


class RequestMessage(BaseModel):
    """One turn. Unknown fields, such as those that responses have, are dropped."""

    model_config = ConfigDict(strict=True)

    role: Role
    content: Annotated[list[ContentPart] | None, BeforeValidator(_to_parts)] = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    # The legacy form of one call.
    function_call: dict[str, Any] | None = None
    # Reasoning of an earlier answer; what becomes of it is up to the model's template.
    reasoning_content: str | None = None

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        if self.content is None and self.role != "assistant":
            rule = "a message of the role {role} needs a content"
            raise PydanticCustomError("no_content", rule, {"role": repr(self.role)})
        return self
