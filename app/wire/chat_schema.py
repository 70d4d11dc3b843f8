"""Schema of a chat request in the OpenAPI document.

The API checks only what it needs and forwards the rest as it was sent; the engine validates it.
Clients are generated from the document, so it describes what the engine accepts.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, PlainValidator

from app.wire.engine import ChatCompletionRequest
from app.wire.tools import ToolCall


def _keep(value: Any) -> Any:
    return value


def documented_as(form: Any) -> PlainValidator:
    """Document a field by the type `form`, and accept any value."""
    return PlainValidator(_keep, json_schema_input_type=form)


def as_in_engine(field: str) -> PlainValidator:
    """Document a field by the type that the engine validates it with, and accept any value."""
    engine_field = ChatCompletionRequest.model_fields[field]
    annotation: Any = engine_field.annotation
    for part in engine_field.metadata:
        annotation = Annotated[annotation, part]
    return documented_as(annotation)


class TextPartParam(BaseModel):
    type: Literal["text"]
    text: str


class RefusalPartParam(BaseModel):
    type: Literal["refusal"]
    refusal: str


class SystemMessageParam(BaseModel):
    """Instructions that hold for the whole conversation."""

    role: Literal["system", "developer"]
    content: str | list[TextPartParam]
    name: str | None = None


class UserMessageParam(BaseModel):
    role: Literal["user"]
    content: str | list[TextPartParam]
    name: str | None = None


class FunctionCallParam(BaseModel):
    """`arguments` are JSON in a string."""

    name: str
    arguments: str


class AssistantMessageParam(BaseModel):
    """An earlier answer. `reasoning_content` is an extension, which the model's template reads."""

    role: Literal["assistant"]
    content: str | list[TextPartParam | RefusalPartParam] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCallParam | None = None
    reasoning_content: str | None = None


class ToolMessageParam(BaseModel):
    """The result of a call, right after the message with the call."""

    role: Literal["tool"]
    content: str | list[TextPartParam]
    tool_call_id: str


class FunctionMessageParam(BaseModel):
    """The result of a call in the legacy form."""

    role: Literal["function"]
    content: str
    name: str


MessageParam = Annotated[
    SystemMessageParam
    | UserMessageParam
    | AssistantMessageParam
    | ToolMessageParam
    | FunctionMessageParam,
    Field(discriminator="role"),
]
# Documents a message, which is validated by another type.
DOCUMENTED_MESSAGE = BeforeValidator(_keep, json_schema_input_type=MessageParam)


class FunctionName(BaseModel):
    name: str


class NamedToolChoice(BaseModel):
    """Force the call of one function."""

    type: Literal["function"]
    function: FunctionName


class AllowedTools(BaseModel):
    mode: Literal["auto", "required"]
    tools: list[NamedToolChoice] = Field(min_length=1)


class AllowedToolsChoice(BaseModel):
    """Restrict the functions that the model may call."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoiceParam = (
    Literal["none", "auto", "required"]
    | Annotated[NamedToolChoice | AllowedToolsChoice, Field(discriminator="type")]
)
FunctionCallChoice = Literal["none", "auto"] | FunctionName
