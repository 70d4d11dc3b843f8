"""Tools: the definitions of an example, and the calls in its messages."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from app.formats.content import reject_control_tokens
from app.formats.errors import (
    InvalidExample,
    escape_for_message,
    json_type_name,
    reject_unknown_keys,
)
from app.formats.json_lines import MAX_DEPTH, is_nested_deeper

FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_FUNCTIONS = 128
FUNCTION_KEYS = ("name", "description", "parameters", "strict")
FUNCTION_FIELD_TYPES: Mapping[str, tuple[type, str]] = {
    "description": (str, "a string"),
    "parameters": (dict, "a JSON schema object"),
    "strict": (bool, "true or false"),
}
TOOL_HINT = 'Write {"type": "function", "function": {"name": "…", "parameters": {…}}}.'
TOOL_CALL_HINT = (
    'Write {"id": "…", "type": "function", "function": {"name": "…", "arguments": "{…}"}}.'
)
FUNCTION_CALL_HINT = 'Write {"name": "…", "arguments": "{…}"}; the arguments are JSON in a string.'
ARGUMENTS_HINT = (
    "Write a JSON object in a string, as json.dumps makes it from a dict (str makes Python's own "
    'notation of it), and "{}" for no arguments.'
)


def check_tool_definitions(row: Mapping[str, Any]) -> None:
    """Raise InvalidExample unless `tools`, `functions` and `parallel_tool_calls` are valid."""
    tools = _get_list(row, "tools")
    if len(tools) > MAX_FUNCTIONS:
        raise InvalidExample(f": tools has {len(tools)} items", f"Give at most {MAX_FUNCTIONS}.")
    for number, tool in enumerate(tools, start=1):
        subject = f"Tool {number}"
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise InvalidExample(f": tool {number} is not a function tool", TOOL_HINT)
        reject_unknown_keys(tool, ("type", "function"), subject)
        _check_function(tool.get("function"), subject)
    functions = _get_list(row, "functions")
    if row.get("functions") is not None and not 1 <= len(functions) <= MAX_FUNCTIONS:
        raise InvalidExample(
            f": functions has {len(functions)} items", f"Give 1 to {MAX_FUNCTIONS}."
        )
    for number, function in enumerate(functions, start=1):
        _check_function(function, f"Function {number}")
    if not isinstance(row.get("parallel_tool_calls"), bool | None):
        raise InvalidExample(
            ": parallel_tool_calls is neither true nor false", "Write one of them."
        )


def check_tool_calls(calls: Any, number: int) -> None:
    """Raise InvalidExample unless `calls` are valid `tool_calls` of message `number`."""
    if not isinstance(calls, list) or not calls:
        raise InvalidExample(
            ": tool_calls is not a list of calls", TOOL_CALL_HINT, message_number=number
        )
    for call in calls:
        if not isinstance(call, dict) or call.get("type") != "function":
            raise InvalidExample(
                ": a tool call is not a function call", TOOL_CALL_HINT, message_number=number
            )
        reject_unknown_keys(call, ("id", "type", "function"), f"A tool call in message {number}")
        if not isinstance(call.get("id"), str) or not call["id"]:
            raise InvalidExample(": a tool call has no id", TOOL_CALL_HINT, message_number=number)
        check_function_call(call.get("function"), number, hint=TOOL_CALL_HINT)
    if len({call["id"] for call in calls}) < len(calls):
        raise InvalidExample(
            ": two tool calls have the same id",
            "Give each call its own id.",
            message_number=number,
        )


def check_function_call(call: Any, number: int, *, hint: str = FUNCTION_CALL_HINT) -> None:
    """Raise InvalidExample unless `call`, of message `number`, is a function name and arguments."""
    if not isinstance(call, dict):
        raise InvalidExample(
            f": a call's function is {json_type_name(call)}", hint, message_number=number
        )
    reject_unknown_keys(call, ("name", "arguments"), f"A call in message {number}")
    if not isinstance(call.get("name"), str) or not call["name"]:
        raise InvalidExample(": a call has no function name", hint, message_number=number)
    if not isinstance(call.get("arguments"), str):
        raise InvalidExample(
            f": the arguments of a call are {json_type_name(call.get('arguments'))}",
            hint,
            message_number=number,
        )
    reject_control_tokens(call["arguments"])
    _check_arguments(call["arguments"], number)


def check_called_functions(
    definitions: Mapping[str, Any],
    messages: Iterable[Mapping[str, Any]],
    *,
    are_complete: bool = False,
) -> None:
    """Raise InvalidExample for a call, in checked messages, to a function that is not offered.

    Without any `tools` or `functions`, nothing is known of the functions, unless the definitions
    are complete.
    """
    offered = {tool["function"]["name"] for tool in definitions.get("tools") or ()}
    offered |= {function["name"] for function in definitions.get("functions") or ()}
    if not offered and not are_complete:
        return
    for number, message in enumerate(messages, start=1):
        for name in _called_names(message):
            if name not in offered:
                raise InvalidExample(
                    f': the function "{escape_for_message(name)}" is called, and tools does not '
                    "have it",
                    "Add its definition to the example's tools, or correct the name.",
                    message_number=number,
                )


def _called_names(message: Mapping[str, Any]) -> list[str]:
    if message.get("function_call"):
        return [message["function_call"]["name"]]
    return [call["function"]["name"] for call in message.get("tool_calls") or ()]


def _check_arguments(arguments: str, number: int) -> None:
    """Raise InvalidExample unless `arguments` is a JSON object: a model writes what it learned."""
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError as error:
        raise InvalidExample(
            f': the arguments "{escape_for_message(arguments)}" of a call are not JSON',
            ARGUMENTS_HINT,
            message_number=number,
        ) from error
    if not isinstance(value, dict):
        raise InvalidExample(
            f": the arguments of a call are JSON for {json_type_name(value)}, not for an object",
            ARGUMENTS_HINT,
            message_number=number,
        )
    # A quick bound first: a string without as many brackets has no such nesting.
    is_bracketed = arguments.count("{") + arguments.count("[") > MAX_DEPTH
    if is_bracketed and is_nested_deeper(value, MAX_DEPTH):
        raise InvalidExample(
            ": the arguments of a call are nested too deep",
            f"Nest no deeper than {MAX_DEPTH} levels.",
            message_number=number,
        )


def _check_function(function: Any, subject: str) -> None:
    prefix = f": {subject.lower()}"
    if not isinstance(function, dict):
        raise InvalidExample(f"{prefix} has no function", TOOL_HINT)
    reject_unknown_keys(function, FUNCTION_KEYS, subject)
    name = function.get("name")
    if not isinstance(name, str) or not FUNCTION_NAME.fullmatch(name):
        raise InvalidExample(
            f"{prefix} has an invalid name", "A name has 1 to 64 letters, digits, _ and -."
        )
    for key, (expected, description) in FUNCTION_FIELD_TYPES.items():
        value = function.get(key)
        if value is not None and not isinstance(value, expected):
            raise InvalidExample(
                f"{prefix}: {key} is {json_type_name(value)}",
                f"Write {description}, or leave it out.",
            )


def _get_list(row: Mapping[str, Any], key: str) -> list[Any]:
    value = row.get(key)
    if value is not None and not isinstance(value, list):
        raise InvalidExample(
            f": {key} is {json_type_name(value)}", "Write a list, or leave it out."
        )
    return value or []
