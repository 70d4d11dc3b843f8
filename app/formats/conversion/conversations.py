"""Conversion of ShareGPT's conversations, with the tool calls of its dialects."""

from collections.abc import Mapping
from typing import Any

import orjson

from app.formats.errors import InvalidExample, escape_for_message, json_type_name

SYSTEM_ROLES = ("system",)
USER_ROLES = ("human", "user")
ASSISTANT_ROLES = ("gpt", "assistant", "chatgpt", "bing", "bard", "model")
CALL_ROLES = ("function_call", "tool_call")
RESULT_ROLES = ("observation", "tool", "function_response")
ROLES = {
    **dict.fromkeys(SYSTEM_ROLES, "system"),
    **dict.fromkeys(USER_ROLES, "user"),
    **dict.fromkeys(ASSISTANT_ROLES, "assistant"),
    **dict.fromkeys(CALL_ROLES, "call"),
    **dict.fromkeys(RESULT_ROLES, "tool"),
}


def convert_conversation(row: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a conversation. Turns after the assistant's last one teach nothing and are cut."""
    turns = row["conversations"]
    if not isinstance(turns, list):
        raise InvalidExample(
            f": conversations is {json_type_name(turns)}", "Write a list of from and value."
        )
    messages: list[dict[str, Any]] = []
    if row.get("system"):
        messages.append({"role": "system", "content": row["system"]})
    for number, turn in enumerate(turns, start=1):
        messages.append(_to_message(turn, number))
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()
    if not messages:
        raise InvalidExample(": no turn is from gpt", "Remove the conversation.")
    converted: dict[str, Any] = {"messages": messages}
    if row.get("tools"):
        converted["tools"] = _to_tools(row["tools"])
    return converted


def _to_message(turn: Any, number: int) -> dict[str, Any]:
    if not isinstance(turn, dict):
        raise InvalidExample(
            f" is {json_type_name(turn)}", "Write from and value.", message_number=number
        )
    source, value = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    role = ROLES.get(source) if isinstance(source, str) else None
    if role is None:
        raise InvalidExample(
            f': "{escape_for_message(str(source))}" is no known speaker',
            f"Known are {', '.join(ROLES)}.",
            message_number=number,
        )
    if role == "call":
        return {"role": "assistant", "content": None, "tool_calls": [_to_call(value, number)]}
    if role == "tool":
        return {"role": "tool", "content": value, "tool_call_id": f"call_{number - 1}"}
    return {"role": role, "content": value}


def _to_call(value: Any, number: int) -> dict[str, Any]:
    """A call is JSON of `name` and `arguments`; its result is the next turn."""
    call = _parse(value, number)
    if not isinstance(call, dict) or "name" not in call:
        raise InvalidExample(
            ": a call has no name", 'Write {"name": …, "arguments": {…}}.', message_number=number
        )
    arguments = call.get("arguments", call.get("parameters", {}))
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    return {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": call["name"], "arguments": text},
    }


def _to_tools(value: Any) -> list[Any]:
    tools = _parse(value, None)
    if not isinstance(tools, list):
        raise InvalidExample(f": tools is {json_type_name(tools)}", "Write a list of functions.")
    return [
        tool if isinstance(tool, dict) and "function" in tool else _to_tool(tool) for tool in tools
    ]


def _to_tool(function: Any) -> dict[str, Any]:
    return {"type": "function", "function": function}


def _parse(value: Any, number: int | None) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise InvalidExample(
            f": {escape_for_message(value)} is not JSON", "Write JSON.", message_number=number
        ) from error
