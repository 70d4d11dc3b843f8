"""Items of OpenAI's Responses API and of its conversations: messages, calls and their results.

Clients send them in several forms. `to_wire` gives each its one form, which is stored, listed and
sent back, and which `app.responses` turns into messages of a chat.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from app.wire.chat_messages import MAX_MESSAGES
from app.wire.sampling import StrictModel
from app.wire.tools import MAX_NAME_CHARS, NAME_PATTERN

# Of one request, and of the context of one answer.
MAX_ITEMS = MAX_MESSAGES
MAX_ID_CHARS = 128
MAX_QUOTED_CHARS = 40

ItemDict = dict[str, Any]
ItemStatus = Literal["in_progress", "completed", "incomplete"]
ReferenceId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
# An item's id becomes a part of its URL.
ItemId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS, pattern=NAME_PATTERN)]
CallId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
FunctionName = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS, pattern=NAME_PATTERN)]
TEXT_PARTS = ("input_text", "output_text", "refusal")


class TextPart(StrictModel):
    """Text of a message. Annotations and the like of an earlier answer are accepted, and dropped.

    `prompt_cache_breakpoint` has no effect: prefixes are cached by themselves.
    """

    type: Literal["input_text", "output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    parsed: Any = None
    prompt_cache_breakpoint: dict[str, Any] | None = None


class RefusalPart(StrictModel):
    type: Literal["refusal"]
    refusal: str


def _check_part(part: Any) -> Any:
    # SSRF: an engine would fetch an image's URL from inside the operator's network.
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind not in TEXT_PARTS:
        rule = "this model reads text only, not parts of type {type}"
        raise PydanticCustomError("not_text", rule, {"type": repr(kind[:MAX_QUOTED_CHARS])})
    return part


Part = Annotated[
    Annotated[TextPart | RefusalPart, Field(discriminator="type")], BeforeValidator(_check_part)
]


def _to_parts(content: Any) -> Any:
    """Normalize both forms of content to parts, so that errors name one form."""
    if isinstance(content, str):
        return [{"type": "input_text", "text": content}]
    if isinstance(content, list):
        return content
    raise PydanticCustomError("content", "expected a text or a list of parts")


PartList = Annotated[list[Part], Field(max_length=MAX_ITEMS, fail_fast=True)]
Content = Annotated[PartList, BeforeValidator(_to_parts, json_schema_input_type=str | PartList)]


class Message(StrictModel):
    """A message of a user, of the developer, or of an earlier answer."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    id: ItemId | None = None
    status: ItemStatus | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class DirectCaller(StrictModel):
    """The model itself; programs of hosted tools make no calls here."""

    type: Literal["direct"]


class FunctionCall(StrictModel):
    """A call of an earlier answer. `arguments` are JSON in a string."""

    type: Literal["function_call"]
    call_id: CallId
    name: FunctionName
    arguments: str
    id: ItemId | None = None
    status: ItemStatus | None = None
    caller: DirectCaller | None = None
    namespace: None = None
    parsed_arguments: Any = None


class FunctionCallOutput(StrictModel):
    """The result of a call."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: Content
    id: ItemId | None = None
    status: ItemStatus | None = None
    caller: DirectCaller | None = None
    name: str | None = None
    namespace: None = None


class ReasoningText(StrictModel):
    type: Literal["reasoning_text", "summary_text", "text"]
    text: str


class Reasoning(StrictModel):
    """Reasoning of an earlier answer; what becomes of `content` is up to the model's template.

    Nothing is encrypted here, and answers have no summaries; those of other servers are dropped.
    """

    type: Literal["reasoning"]
    id: ItemId | None = None
    summary: list[ReasoningText] | None = None
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    status: ItemStatus | None = None


class ItemReference(StrictModel):
    """An item of a stored response, or of the conversation, by its id."""

    type: Literal["item_reference"] | None = None
    id: ReferenceId


AnyItem = Message | FunctionCall | FunctionCallOutput | Reasoning | ItemReference
KNOWN_TYPES = ("message", "function_call", "function_call_output", "reasoning", "item_reference")


def _type_of(item: Any) -> str | None:
    """The item's type. Messages and references may come without."""
    if isinstance(item, get_args(AnyItem)):
        item = item.model_dump(include={"type", "role", "id"})
    if not isinstance(item, dict):
        return "message"
    kind = item.get("type")
    if kind is None:
        return "item_reference" if "id" in item and "role" not in item else "message"
    return kind if isinstance(kind, str) else None


def _check_type(item: Any) -> Any:
    kind = _type_of(item)
    if kind in KNOWN_TYPES:
        return item
    context = {"type": repr(str(kind)[:MAX_QUOTED_CHARS]), "known": ", ".join(KNOWN_TYPES)}
    raise PydanticCustomError(
        "item_type", "items of type {type} are not supported here. Known are: {known}", context
    )


Item = Annotated[
    Annotated[Message, Tag("message")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionCallOutput, Tag("function_call_output")]
    | Annotated[Reasoning, Tag("reasoning")]
    | Annotated[ItemReference, Tag("item_reference")],
    Discriminator(_type_of),
    BeforeValidator(_check_type),
]
ItemList = Annotated[list[Item], Field(max_length=MAX_ITEMS, fail_fast=True)]


def to_wire(item: AnyItem, item_id: str) -> ItemDict:
    """The one form of an item; its own id wins. A reference has none: resolve it before."""
    fields: ItemDict = {"id": item.id or item_id, "type": item.type}
    match item:
        case Message():
            parts = [_part_to_wire(part, item.role) for part in item.content]
            fields |= {"status": item.status or "completed", "role": item.role, "content": parts}
            fields |= {"phase": item.phase} if item.phase else {}
        case FunctionCall():
            fields |= {"status": item.status or "completed", "call_id": item.call_id}
            fields |= {"name": item.name, "arguments": item.arguments}
        case FunctionCallOutput():
            parts = [_part_to_wire(part, "user") for part in item.output]
            is_text = len(parts) == 1 and parts[0]["type"] == "input_text"
            output: Any = parts[0]["text"] if is_text else parts
            fields |= {"status": item.status or "completed", "call_id": item.call_id}
            fields |= {"output": output}
        case Reasoning():
            texts = [{"type": "reasoning_text", "text": each.text} for each in item.content or ()]
            fields |= {"summary": [], "content": texts}
        case ItemReference():
            raise ValueError("a reference is no item")
    return fields


def _part_to_wire(part: TextPart | RefusalPart, role: str) -> ItemDict:
    if isinstance(part, RefusalPart):
        return {"type": "refusal", "refusal": part.refusal}
    if role == "assistant":
        return {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": part.text}
