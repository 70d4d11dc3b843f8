"""Normalizes messages and tools to one form, whether a file or a request has them."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from worker.model.rendering.features import reasoning_fields

Message = Mapping[str, Any]
Tool = Mapping[str, Any]

# Reasoning that a message's content begins with.
INLINE_REASONING = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)


def normalize_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Convert messages to the form that most templates expect.

    Contents are text and arguments are objects. Legacy function calls become calls of tools; keys
    without a value are left out, since templates ask whether a message has them.
    """
    normalized: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        normalized.append(_normalize_message(message, place))
    return normalized


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


def has_reasoning(message: Message) -> bool:
    """Check whether an assistant's message has reasoning, in a field or in its content."""
    if message.get("reasoning_content"):
        return True
    content = message.get("content")
    inline = INLINE_REASONING.match(content) if isinstance(content, str) else None
    return inline is not None and bool(inline[1].strip())


def _normalize_message(message: Message, place: int) -> dict[str, Any]:
    role = message["role"]
    content = text_content(message.get("content") or message.get("refusal"))
    normalized: dict[str, Any] = {"role": role, "content": content}
    if role == "developer":
        normalized["role"] = "system"
    if role == "function":
        # The legacy form answers the message before it, which makes one call at a time.
        normalized |= {"role": "tool", "name": message.get("name"), "tool_call_id": _id(place - 1)}
    for key in ("name", "tool_call_id", "weight"):
        if message.get(key) is not None:
            normalized[key] = message[key]
    if message.get("reasoning_content"):
        normalized |= reasoning_fields(message["reasoning_content"])
    calls = list(message.get("tool_calls") or ())
    if message.get("function_call"):
        calls.append({"id": _id(place), "type": "function", "function": message["function_call"]})
    if calls:
        normalized["tool_calls"] = [_parse_call_arguments(call) for call in calls]
    return normalized


def text_content(content: Any) -> str:
    """Join the text parts of a message's content."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or part.get("refusal") or "" for part in content)


def _id(place: int) -> str:
    # Some templates insist on nine letters and digits.
    return f"call{max(place, 0):05}"


def _parse_call_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    """Parse a call's arguments: templates dump them as JSON, which would quote a string twice."""
    function = dict(call["function"])
    try:
        function["arguments"] = json.loads(function["arguments"])
    except (TypeError, ValueError, KeyError):
        # A model may have written invalid JSON; it stays a string.
        return {**call, "function": function}
    return {**call, "function": function}
