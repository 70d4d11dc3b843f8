"""Chat format: `{"messages": [...], "tools": [...]}`. The loss is on the assistant's messages."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.formats.chat_rules import MAX_MESSAGES, check
from app.formats.content import FORBIDDEN_PREFIX, join_text
from app.formats.format import Format, FormatName

EMPTY_WARNING = "every answer is empty, and the model learns to say nothing"
FAST_PATH_ROLES = ("user", "assistant", "system")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat, normalized.

    Content parts are joined into one text, and a refusal becomes the content. `weight` 0 excludes
    an assistant's message from the loss.
    """

    role: str
    content: str | None
    name: str | None = None
    weight: int = 1
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None
    reasoning_content: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """The message as the API writes it, without keys that have their default value."""
        wire: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.name is not None:
            wire["name"] = self.name
        if self.weight == 0:
            wire["weight"] = 0
        if self.tool_calls:
            wire["tool_calls"] = list(self.tool_calls)
        if self.tool_call_id is not None:
            wire["tool_call_id"] = self.tool_call_id
        if self.reasoning_content:
            wire["reasoning_content"] = self.reasoning_content
        return wire


@dataclass(frozen=True, slots=True)
class ChatExample:
    """One chat. Legacy `functions` and `function_call` are converted to tools and tool calls."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()


def to_example(row: Mapping[str, Any]) -> ChatExample:
    """Convert a checked row."""
    functions = row.get("functions") or ()
    tools = (*(row.get("tools") or ()), *map(_to_tool, functions))
    return ChatExample(to_messages(row["messages"]), tools)


def to_messages(wire: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Convert checked messages to the normalized form."""
    messages: list[Message] = []
    for message in wire:
        messages.append(_to_message(message, messages))
    return tuple(messages)


def fast_check(row: Any) -> int:
    """See Format. Passes rows of messages that have a role and a text content, and nothing else."""
    role = None
    try:
        for message in row["messages"]:
            role, content = message["role"], message["content"]
            if role not in FAST_PATH_ROLES or type(content) is not str or len(message) != 2:
                return 0
            if FORBIDDEN_PREFIX in content:
                return 0
        if role != "assistant" or len(row) != 1 or len(row["messages"]) > MAX_MESSAGES:
            return 0
        return 1 + 4 * len(row["messages"])
    except (KeyError, TypeError):
        return 0  # `check` reports the reason


def find_warning(row: Mapping[str, Any]) -> str | None:
    """See Format."""
    messages = row["messages"]
    # The last message is the assistant's, and nearly always says something.
    is_empty = not _says_something(messages[-1]) and not any(map(_says_something, messages))
    return EMPTY_WARNING if is_empty else None


def _says_something(message: Mapping[str, Any]) -> bool:
    """Check that a message is the assistant's, says something, and has weight."""
    if message["role"] != "assistant" or message.get("weight") == 0:
        return False
    content = message.get("content")
    text = content if isinstance(content, str) else join_text(content)
    others = ("refusal", "tool_calls", "function_call", "reasoning_content")
    return bool((text or "").strip()) or any(message.get(key) for key in others)


def _to_message(message: Mapping[str, Any], before: Sequence[Message]) -> Message:
    content = join_text(message.get("content"))
    if message["role"] == "function":
        call_id = _call_id(len(before) - 1)
        return Message("tool", content, name=message.get("name"), tool_call_id=call_id)
    calls = message.get("tool_calls") or ()
    if message.get("function_call"):
        calls = ({"id": _call_id(len(before)), **_to_tool(message["function_call"])},)
    weight = message.get("weight")
    return Message(
        role=message["role"],
        content=message.get("refusal") if content is None else content,
        name=message.get("name"),
        weight=1 if weight is None else weight,
        tool_calls=tuple(calls),
        tool_call_id=message.get("tool_call_id"),
        reasoning_content=message.get("reasoning_content"),
    )


def _call_id(index: int) -> str:
    return f"call{max(index, 0):05}"


def _to_tool(function: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": function}


FORMAT = Format(
    name=FormatName.CHAT,
    matches=lambda row: "messages" in row,
    check=check,
    fast_check=fast_check,
    find_warning=find_warning,
)
