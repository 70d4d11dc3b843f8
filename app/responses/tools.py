"""Tools of a response on the wire, and in the form of a chat request.

Only functions, which clients call themselves: OpenAI's hosted tools are refused by name.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator
from pydantic_core import PydanticCustomError

from app.wire.base import max_items
from app.wire.items import MAX_QUOTED_CHARS, FunctionName
from app.wire.sampling import StrictModel
from app.wire.tools import MAX_TOOLS

CHOICE_RULE = (
    "expected 'none', 'auto', 'required', {\"type\": \"function\", \"name\": …} or "
    '{"type": "allowed_tools", "mode": …, "tools": […]}'
)
ChatTool = dict[str, Any]


class FunctionTool(StrictModel):
    """A function that the model may call. `parameters` is the JSON schema of its arguments.

    Unlike at OpenAI, arguments follow the schema strictly only with `strict`: true.
    """

    type: Literal["function"]
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def to_chat(self) -> ChatTool:
        fields = self.model_dump(exclude={"type"}, exclude_none=True)
        return {"type": "function", "function": fields}


def _check_is_function(tool: Any) -> Any:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if isinstance(kind, str) and kind != "function":
        raise _hosted(kind)
    return tool


def _hosted(kind: str) -> PydanticCustomError:
    rule = (
        "tools of type {type} are not available on this server. Use tools of type 'function', "
        "which your program calls"
    )
    return PydanticCustomError("hosted_tool", rule, {"type": repr(kind[:MAX_QUOTED_CHARS])})


Tools = Annotated[
    list[Annotated[FunctionTool, BeforeValidator(_check_is_function)]],
    max_items(MAX_TOOLS, "tools"),
]


class FunctionChoice(StrictModel):
    """Force the call of one function."""

    type: Literal["function"]
    name: FunctionName


class AllowedTools(StrictModel):
    """Restrict the functions that the model may call."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[FunctionChoice] = Field(min_length=1, max_length=MAX_TOOLS)


ToolMode = Literal["none", "auto", "required"]


def _check_choice(choice: Any) -> Any:
    match choice:
        case None | "none" | "auto" | "required":
            return choice
        case {"type": "function", "name": str()} if len(choice) == 2:
            return choice
        case {"type": "allowed_tools", "mode": "auto" | "required", "tools": [_, *_] as tools} if (
            len(choice) == 3 and len(tools) <= MAX_TOOLS
        ):
            for tool in tools:
                _check_is_function(tool)
                if not (isinstance(tool, dict) and isinstance(tool.get("name"), str)):
                    raise PydanticCustomError("tool_choice", "{rule}", {"rule": CHOICE_RULE})
            return choice
        case {"type": str(kind)} if kind not in ("function", "allowed_tools"):
            raise _hosted(kind)
    raise PydanticCustomError("tool_choice", "{rule}", {"rule": CHOICE_RULE})


ToolChoice = Annotated[
    Any,
    PlainValidator(
        _check_choice, json_schema_input_type=ToolMode | FunctionChoice | AllowedTools | None
    ),
]


def choice_to_chat(choice: Any) -> Any:
    """The form of a choice in a chat request, which names functions one level deeper."""
    if not isinstance(choice, dict):
        return choice
    if choice["type"] == "function":
        return _name_of(choice)
    allowed = [_name_of(tool) for tool in choice["tools"]]
    return {
        "type": "allowed_tools",
        "allowed_tools": {"mode": choice["mode"], "tools": allowed},
    }


def _name_of(choice: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": choice["name"]}}
