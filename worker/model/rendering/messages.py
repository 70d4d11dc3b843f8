"""Normalizes messages and tools to the form that chat templates expect."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]
Tool = Mapping[str, Any]

# System prompt for models whose template does not support tools, in the form that most open models
# are trained on (Hermes function calling).
TOOLS_PROMPT = """\
You may call functions to answer. These are their signatures:
<tools>
{tools}
</tools>
To call one, write its name and arguments as a JSON object in these tags:
<tool_call>
{{"name": "…", "arguments": {{…}}}}
</tool_call>"""


def normalize_message(message: Message) -> dict[str, Any]:
    """Convert a message to the form templates expect: plain text content, arguments as objects."""
    normalized = dict(message)
    normalized["role"] = "system" if message["role"] == "developer" else message["role"]
    normalized["content"] = _text_content(message.get("content") or message.get("refusal"))
    if message.get("tool_calls"):
        normalized["tool_calls"] = [_parse_call_arguments(call) for call in message["tool_calls"]]
    return normalized


def tools_as_text(
    messages: Sequence[dict[str, Any]], tools: Sequence[Tool] | None
) -> list[dict[str, Any]]:
    """Write tools, calls and results as text, for templates that would drop them silently."""
    text_messages = [_tool_message_as_text(message) for message in messages]
    if not tools:
        return text_messages
    text = TOOLS_PROMPT.format(
        tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    )
    if text_messages and text_messages[0]["role"] == "system":
        first = {**text_messages[0], "content": f"{text_messages[0]['content']}\n\n{text}"}
        return [first, *text_messages[1:]]
    return [{"role": "system", "content": text}, *text_messages]


def _text_content(content: Any) -> str:
    """Join the text parts of a message's content."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or part.get("refusal") or "" for part in content)


def _parse_call_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    """Parse a call's arguments: templates dump them as JSON, which would quote a string twice."""
    function = dict(call["function"])
    try:
        function["arguments"] = json.loads(function["arguments"])
    except (TypeError, ValueError):
        # A model may have written invalid JSON; it stays a string.
        return {**call, "function": function}
    return {**call, "function": function}


def _tool_message_as_text(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        text = f"<tool_response>\n{message['content']}\n</tool_response>"
        return {"role": "user", "content": text}
    if not message.get("tool_calls"):
        return message
    calls = [f"<tool_call>\n{_format_call(call)}\n</tool_call>" for call in message["tool_calls"]]
    lines = [message["content"], *calls] if message["content"] else calls
    return {**message, "content": "\n".join(lines)}


def _format_call(call: Mapping[str, Any]) -> str:
    function = call["function"]
    name_and_arguments = {"name": function["name"], "arguments": function["arguments"]}
    return json.dumps(name_and_arguments, ensure_ascii=False)
