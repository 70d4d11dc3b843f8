"""Reasoning in training files: a model may begin answers with it if any answer to learn does."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from app.formats import chat, preference
from app.formats.chat import Message
from app.formats.format import FormatName

# A file without any of these has no answer with reasoning; JSON may escape the first character.
REASONING_MARKS = (b"reasoning_content", b"/think>", b"\\u003c")
MAX_MARK_BYTES = max(map(len, REASONING_MARKS)) - 1
# Reasoning that a message's content begins with.
INLINE_REASONING = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)


def has_mark(data: bytes) -> bool:
    """Search the bytes of a file, much faster than its rows."""
    return any(mark in data for mark in REASONING_MARKS)


def has_reasoning(message: Mapping[str, Any]) -> bool:
    """Check whether an assistant's message has reasoning, in a field or in its content."""
    if message.get("reasoning_content"):
        return True
    content = message.get("content")
    inline = INLINE_REASONING.match(content) if isinstance(content, str) else None
    return inline is not None and bool(inline[1].strip())


def teaches_reasoning(answers: Iterable[Message]) -> bool:
    """Check whether any of an example's answers to learn has reasoning."""
    return any(
        message.role == "assistant" and message.weight and has_reasoning(message.to_wire())
        for message in answers
    )


def _read_outputs(row: dict[str, Any]) -> Iterable[Message]:
    example = preference.to_example(row)
    return example.chosen, example.rejected


# Readers of the messages that a row may teach.
ANSWER_READERS: Mapping[FormatName, Callable[[dict[str, Any]], Iterable[Message]]] = {
    FormatName.CHAT: lambda row: chat.to_example(row).messages,
    FormatName.COMPLETION: lambda _row: (),
    FormatName.PREFERENCE: _read_outputs,
}
