"""Normalizes messages and tools to one form, whether a file or a request has them."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from app.formats.reasoning import INLINE_REASONING
from worker.model.rendering.errors import RenderingError
from worker.model.rendering.features import reasoning_fields

Message = Mapping[str, Any]
Tool = Mapping[str, Any]

CALL_ID = re.compile(r"[A-Za-z0-9]{9}")


def normalize_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Convert messages to the form that most templates expect.

    Contents are text and arguments are objects. Legacy function calls become calls of tools; keys
    without a value are left out, since templates ask whether a message has them.
    """
    ids = _CallIds()
    return [_normalize_message(message, ids) for message in messages]


def normalize_tools(
    tools: Sequence[Tool] | None, functions: Sequence[Tool] | None = None
) -> list[Tool]:
    """Join tools and legacy functions, as tools."""
    return [*(tools or ()), *({"type": "function", "function": each} for each in functions or ())]


def split_inline_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """Move reasoning that an answer's content begins with to its own field."""
    if message["role"] != "assistant" or message.get("reasoning_content"):
        return message
    inline = INLINE_REASONING.match(message["content"])
    if inline is None or not inline[1].strip():
        return message
    reasoning = reasoning_fields(inline[1].strip("\n"))
    return {**message, "content": message["content"][inline.end() :], **reasoning}


class _CallIds:
    """Ids of calls, in the form that the strictest templates insist on: nine letters and digits.

    Others are replaced in the order of the chat, so that a prompt and its training row agree.
    """

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._last = ""

    def add(self, id: Any) -> str:
        self._last = id if isinstance(id, str) and CALL_ID.fullmatch(id) else self._next()
        self._ids[str(id)] = self._last
        return self._last

    def get(self, id: Any) -> str:
        """Return the id of the call that a result answers; without an id, of the last call."""
        return self._ids.get(str(id), self._last) if id is not None else self._last

    def _next(self) -> str:
        return f"call{len(self._ids):05}"


def _normalize_message(message: Message, ids: _CallIds) -> dict[str, Any]:
    role = message["role"]
    content = text_content(message.get("content") or message.get("refusal"))
    normalized: dict[str, Any] = {"role": role, "content": content}
    if role == "developer":
        normalized["role"] = "system"
    if role in ("tool", "function"):
        # The legacy form answers the message before it, which makes one call at a time.
        normalized |= {"role": "tool", "tool_call_id": ids.get(message.get("tool_call_id"))}
    for key in ("name", "weight"):
        if message.get(key) is not None:
            normalized[key] = message[key]
    if message.get("reasoning_content"):
        normalized |= reasoning_fields(message["reasoning_content"])
    calls = list(message.get("tool_calls") or ())
    if message.get("function_call"):
        calls.append({"id": None, "type": "function", "function": message["function_call"]})
    if calls:
        normalized["tool_calls"] = [
            {**_parse_call_arguments(call), "id": ids.add(call.get("id"))} for call in calls
        ]
    return normalized


def text_content(content: Any) -> str:
    """Join the text parts of a message's content."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or part.get("refusal") or "" for part in content)


def _parse_call_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    """Parse a call's arguments: templates dump them as JSON, which would quote a string twice."""
    function = call.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RenderingError(
            'A call of a tool needs a function: {"name": "…", "arguments": "{…}"}.'
        )
    function = {"arguments": "{}", **function}
    # A model may have written invalid JSON; it stays a string.
    with suppress(TypeError, ValueError):
        function["arguments"] = _parse_json(function["arguments"])
    return {**call, "function": function}


def _parse_json(text: str) -> Any:
    """Parse JSON. Raises TypeError, and ValueError also for lone surrogates: no token has them."""
    value = json.loads(text)
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value
