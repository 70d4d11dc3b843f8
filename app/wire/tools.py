"""Tools of a chat completion on the wire: definitions of functions, and which may be called."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainValidator,
    PrivateAttr,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.wire.base import max_items
from app.wire.refusals import refusal

# OpenAI's limit.
MAX_TOOLS = 128
MAX_NAME_CHARS = 64
NAME_PATTERN = r"^[a-zA-Z0-9_-]+$"


class KeepsSent(BaseModel):
    """A definition that is passed on as it was sent: templates write the order of its keys."""

    model_config = ConfigDict(strict=True)

    _sent: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_sent(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        definition = handler(value)
        definition._sent = value
        return definition

    @property
    def sent(self) -> dict[str, Any]:
        return self._sent


class Function(KeepsSent):
    """A function that the model may call. `parameters` is the JSON schema of its arguments."""

    name: str = Field(min_length=1, max_length=MAX_NAME_CHARS, pattern=NAME_PATTERN)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(KeepsSent):
    type: Literal["function"]
    function: Function


def _check_tools(tools: list[Tool]) -> list[Tool]:
    _check_names([tool.function.name for tool in tools], "tools")
    return tools


def _check_functions(functions: list[Function]) -> list[Function]:
    _check_names([function.name for function in functions], "functions")
    return functions


def _check_names(names: Sequence[str], field: str) -> None:
    if not names:
        raise refusal(
            f"Invalid '{field}': empty array. Expected an array with minimum length 1, but got an "
            "empty array instead.",
            param=field,
            code="empty_array",
        )
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        rule = "expected functions of different names, but two have the name {name}"
        raise PydanticCustomError("same_name", rule, {"name": repr(twice)})


Tools = Annotated[list[Tool], max_items(MAX_TOOLS, "tools"), AfterValidator(_check_tools)]
Functions = Annotated[
    list[Function], max_items(MAX_TOOLS, "functions"), AfterValidator(_check_functions)
]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """The choice of functions to call, and whether one must be; `names` None means all."""

    mode: Literal["none", "auto", "required"]
    names: frozenset[str] | None = None


AUTO = ToolChoice("auto")
CHOICE_RULE = (
    'expected \'none\', \'auto\', \'required\', {"type": "function", "function": {"name": …}} or '
    '{"type": "allowed_tools", "allowed_tools": {"mode": …, "tools": […]}}'
)
CALL_RULE = "expected 'none', 'auto' or {\"name\": …}"


def _parse_tool_choice(value: Any) -> ToolChoice | None:
    match value:
        case None | ToolChoice():
            return value
        case "none" | "auto" | "required":
            return ToolChoice(value)
        case {"type": "function", "function": {"name": str(name)}}:
            return ToolChoice("required", frozenset([name]))
        case {
            "type": "allowed_tools",
            "allowed_tools": {"mode": mode, "tools": [_, *_] as tools},
        } if mode in ("auto", "required"):
            return ToolChoice(mode, frozenset(map(_name_of_allowed, tools)))
    raise _rule("tool_choice", CHOICE_RULE)


def _name_of_allowed(tool: Any) -> str:
    match tool:
        case {"type": "function", "function": {"name": str(name)}}:
            return name
    raise _rule("tool_choice", CHOICE_RULE)


def _parse_function_call(value: Any) -> ToolChoice | None:
    """Parse the legacy form of a choice."""
    match value:
        case None | ToolChoice():
            return value
        case "none" | "auto":
            return ToolChoice(value)
        case {"name": str(name)}:
            return ToolChoice("required", frozenset([name]))
    raise _rule("function_call", CALL_RULE)


def check_choice(
    field: Literal["tool_choice", "function_call"],
    choice: ToolChoice | None,
    definitions: Sequence[Function] | None,
) -> None:
    """Raise PydanticCustomError if a choice is of functions that are not defined."""
    if choice is None:
        return
    place = "tools" if field == "tool_choice" else "functions"
    if definitions is None:
        raise refusal(
            f"Invalid value for '{field}': '{field}' is only allowed when '{place}' are specified.",
            param=field,
        )
    unknown = sorted((choice.names or frozenset()) - {each.name for each in definitions})
    if unknown:
        raise refusal(
            f"Invalid value for '{field}': no function named {unknown[0][:MAX_NAME_CHARS]!r} was "
            f"specified in the '{place}' parameter.",
            param=field,
        )


def _rule(kind: Literal["tool_choice", "function_call"], rule: str) -> PydanticCustomError:
    return PydanticCustomError(kind, "{rule}", {"rule": rule})


ToolChoiceField = Annotated[ToolChoice | None, PlainValidator(_parse_tool_choice)]
FunctionCallField = Annotated[ToolChoice | None, PlainValidator(_parse_function_call)]


class CalledFunction(BaseModel):
    """`arguments` are JSON in a string, as the model wrote them: they may be invalid."""

    name: str
    arguments: str


class ToolCall(BaseModel):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class FunctionDelta(BaseModel):
    name: str | None = None
    arguments: str


class ToolCallDelta(BaseModel):
    """Increment of a call. The first one has the id, the type and the name."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta
