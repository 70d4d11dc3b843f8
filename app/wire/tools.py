"""Tools of a chat completion on the wire: definitions of functions, and which may be called."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

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

# OpenAI's limit.
MAX_TOOLS = 128
MAX_NAME_CHARS = 64
NAME_PATTERN = r"^[a-zA-Z0-9_-]+$"


class Function(BaseModel):
    """A function that the model may call. `parameters` is the JSON schema of its arguments."""

    model_config = ConfigDict(strict=True)

    name: str = Field(min_length=1, max_length=MAX_NAME_CHARS, pattern=NAME_PATTERN)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    _sent: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_sent(cls, value: Any, handler: ModelWrapValidatorHandler["Function"]) -> "Function":
        function = handler(value)
        function._sent = value
        return function

    @property
    def sent(self) -> dict[str, Any]:
        """As it was sent: templates write a definition in the order of its keys."""
        return self._sent


class Tool(BaseModel):
    model_config = ConfigDict(strict=True)

    type: Literal["function"]
    function: Function
    _sent: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_sent(cls, value: Any, handler: ModelWrapValidatorHandler["Tool"]) -> "Tool":
        tool = handler(value)
        tool._sent = value
        return tool

    @property
    def sent(self) -> dict[str, Any]:
        return self._sent


def _check_tools(tools: list[Tool]) -> list[Tool]:
    _check_names([tool.function.name for tool in tools])
    return tools


def _check_functions(functions: list[Function]) -> list[Function]:
    _check_names([function.name for function in functions])
    return functions


def _check_names(names: Sequence[str]) -> None:
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
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [*tools]}} if (
            mode in ("auto", "required")
        ):
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
