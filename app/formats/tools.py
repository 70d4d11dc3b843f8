"""The tools that an example offers, and the calls that its messages make."""

import re
from collections.abc import Mapping
from typing import Any

from app.formats.content import check_text
from app.formats.errors import Flaw, kind, refuse_extra

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MOST_FUNCTIONS = 128
FUNCTION_KEYS = ("name", "description", "parameters", "strict")
TYPES: Mapping[str, tuple[type, str]] = {
    "description": (str, "a string"),
    "parameters": (dict, "a JSON schema object"),
    "strict": (bool, "true or false"),
}
TOOL = 'Write {"type": "function", "function": {"name": "…", "parameters": {…}}}.'
CALL = 'Write {"id": "…", "type": "function", "function": {"name": "…", "arguments": "{…}"}}.'
FUNCTION_CALL = 'Write {"name": "…", "arguments": "{…}"}, the arguments being JSON in a string.'


def check_offers(row: Mapping[str, Any]) -> None:
    """Raises Flaw if `tools`, `functions` or `parallel_tool_calls` are not as they must be."""
    for number, tool in enumerate(_list_of(row, "tools"), start=1):
        where = f"Tool {number}"
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise Flaw(f": tool {number} is no function tool", TOOL)
        refuse_extra(tool, ("type", "function"), where)
        _check_function(tool.get("function"), where)
    functions = _list_of(row, "functions")
    if row.get("functions") is not None and not 1 <= len(functions) <= MOST_FUNCTIONS:
        raise Flaw(f": there are {len(functions)} functions", f"Give 1 to {MOST_FUNCTIONS}.")
    for number, function in enumerate(functions, start=1):
        _check_function(function, f"Function {number}")
    if not isinstance(row.get("parallel_tool_calls"), bool | None):
        raise Flaw(": parallel_tool_calls is neither true nor false", "Write one of them.")


def check_tool_calls(calls: Any, message: int) -> None:
    """Raises Flaw unless these are the `tool_calls` of an assistant's message."""
    if not isinstance(calls, list) or not calls:
        raise Flaw(": tool_calls is no list of calls", CALL, message=message)
    for call in calls:
        if not isinstance(call, dict) or call.get("type") != "function":
            raise Flaw(": a tool call is no function call", CALL, message=message)
        refuse_extra(call, ("id", "type", "function"), f"A tool call in message {message}")
        if not isinstance(call.get("id"), str) or not call["id"]:
            raise Flaw(": a tool call has no id", CALL, message=message)
        check_function_call(call.get("function"), message, hint=CALL)
    if len({call["id"] for call in calls}) < len(calls):
        raise Flaw(": two tool calls have the same id", "Give each its own.", message=message)


def check_function_call(call: Any, message: int, *, hint: str = FUNCTION_CALL) -> None:
    """Raises Flaw unless this is a function's name and its arguments."""
    if not isinstance(call, dict):
        raise Flaw(f": a call's function is {kind(call)}", hint, message=message)
    refuse_extra(call, ("name", "arguments"), f"A call in message {message}")
    if not isinstance(call.get("name"), str) or not call["name"]:
        raise Flaw(": a call has no function name", hint, message=message)
    if not isinstance(call.get("arguments"), str):
        raise Flaw(
            f": the arguments of a call are {kind(call.get('arguments'))}", hint, message=message
        )
    check_text(call["arguments"])


def _check_function(function: Any, where: str) -> None:
    place = f": {where.lower()}"
    if not isinstance(function, dict):
        raise Flaw(f"{place} has no function", TOOL)
    refuse_extra(function, FUNCTION_KEYS, where)
    name = function.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Flaw(f"{place} has no good name", "A name has 1 to 64 letters, digits, _ and -.")
    for key, (wanted, words) in TYPES.items():
        value = function.get(key)
        if value is not None and not isinstance(value, wanted):
            raise Flaw(
                f"{place}: its field {key} is {kind(value)}", f"Write {words}, or leave it out."
            )


def _list_of(row: Mapping[str, Any], key: str) -> list[Any]:
    value = row.get(key)
    if value is not None and not isinstance(value, list):
        raise Flaw(f": {key} is {kind(value)}", "Write a list, or leave it out.")
    return value or []
