"""Rewrites messages that a chat template would reject or drop without a word."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from worker.model.rendering.features import TemplateFeatures
from worker.model.rendering.messages import Tool, split_inline_reasoning

# System prompt for models whose template does not render tools.
TOOLS_PROMPT = """\
You may call functions to answer. These are their signatures:
<tools>
{tools}
</tools>"""
# Form of calls where the template has none: the one most open models are trained on (Hermes).
CALLS_PROMPT = """
To call one, write its name and arguments as a JSON object in these tags:
<tool_call>
{"name": "…", "arguments": {…}}
</tool_call>"""

Messages = list[dict[str, Any]]


def rewrite(
    messages: Messages, tools: Sequence[Tool], features: TemplateFeatures
) -> tuple[Messages, Sequence[Tool]]:
    """Write normalized messages and tools as the template can render them."""
    if features.call_form is None:
        messages = list(_tool_messages_as_text(messages))
    else:
        if not features.parallel_calls:
            messages = list(_calls_in_sequence(messages))
        if not features.call_form.arguments_as_objects:
            messages = [_with_arguments_as_text(message) for message in messages]
    if tools and not features.tools:
        messages, tools = _tools_in_system(messages, tools, features), ()
    if features.reasoning:
        messages = [split_inline_reasoning(message) for message in messages]
    if not features.system:
        messages = _system_in_user(messages)
    return messages, tools


def _tool_messages_as_text(messages: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Write calls in answers' texts, and the results after an answer as one message of a user."""
    results: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            results.append(f"<tool_response>\n{message['content']}\n</tool_response>")
            continue
        yield from _flush(results)
        yield _with_calls_as_text(message)
    yield from _flush(results)


def _flush(results: list[str]) -> Iterator[dict[str, Any]]:
    if results:
        yield {"role": "user", "content": "\n".join(results)}
        results.clear()


def _with_calls_as_text(message: dict[str, Any]) -> dict[str, Any]:
    if not message.get("tool_calls"):
        return message
    calls = [f"<tool_call>\n{_format_call(call)}\n</tool_call>" for call in message["tool_calls"]]
    lines = [message["content"], *calls] if message["content"] else calls
    without_calls = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**without_calls, "content": "\n".join(lines)}


def _format_call(call: Mapping[str, Any]) -> str:
    function = call["function"]
    name_and_arguments = {"name": function["name"], "arguments": function["arguments"]}
    return json.dumps(name_and_arguments, ensure_ascii=False)


def _calls_in_sequence(messages: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Split a message with several calls: each call is followed by its own result."""
    place = 0
    while place < len(messages):
        message = messages[place]
        place += 1
        calls = message.get("tool_calls") or ()
        if len(calls) < 2:
            yield message
            continue
        results: dict[Any, dict[str, Any]] = {}
        while place < len(messages) and messages[place]["role"] == "tool":
            results[messages[place].get("tool_call_id")] = messages[place]
            place += 1
        yield from _split_calls(message, calls, results)


def _split_calls(
    message: dict[str, Any], calls: Iterable[Mapping[str, Any]], results: dict[Any, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for call in calls:
        yield {**message, "tool_calls": [call]}
        result = results.pop(call.get("id"), None)
        if result is not None:
            yield result
        # Content and reasoning come before the first call only.
        message = {k: v for k, v in message.items() if k in ("role", "weight")} | {"content": ""}
    yield from results.values()


def _with_arguments_as_text(message: dict[str, Any]) -> dict[str, Any]:
    if not message.get("tool_calls"):
        return message
    calls = [
        {**call, "function": {**call["function"], "arguments": _dump(call["function"])}}
        for call in message["tool_calls"]
    ]
    return {**message, "tool_calls": calls}


def _dump(function: Mapping[str, Any]) -> str:
    arguments = function.get("arguments")
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _tools_in_system(
    messages: Messages, tools: Sequence[Tool], features: TemplateFeatures
) -> Messages:
    text = TOOLS_PROMPT.format(
        tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    )
    if features.call_form is None:
        text += CALLS_PROMPT
    if messages and messages[0]["role"] == "system":
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _system_in_user(messages: Messages) -> Messages:
    """Write the system's message at the beginning of the user's first, as Gemma 3 does."""
    if not messages or messages[0]["role"] != "system":
        return messages
    system, *others = messages
    if not others or others[0]["role"] != "user":
        return [{**system, "role": "user"}, *others]
    first = {**others[0], "content": f"{system['content']}\n\n{others[0]['content']}"}
    return [first, *others[1:]]
