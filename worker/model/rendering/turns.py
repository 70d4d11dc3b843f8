"""Locates the assistant's turns in a rendered chat, in linear time."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from worker.model.rendering.template import ChatTemplate, Span


def assistant_turns(messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """List the places of the assistant's messages."""
    return [place for place, message in enumerate(messages) if message["role"] == "assistant"]


def locate_turns(
    text: str, tagged: Sequence[Span], messages: Sequence[Mapping[str, Any]], template: ChatTemplate
) -> dict[int, Span]:
    """Locate turns by the template's generation tags, or by the header that begins each.

    No text of a user can forge them, since the header has a special token. The result lacks turns
    that are not found, or whose text does not contain their message: templates of reasoning models
    shorten earlier turns.
    """
    places = assistant_turns(messages)
    if not template.header:
        return {}
    spans = list(tagged) if len(tagged) == len(places) else _find_headers(text, template.header)
    if len(spans) != len(places):
        return {}
    located: dict[int, Span] = {}
    for place, span in zip(places, spans, strict=True):
        stop = template.stop_pattern.search(text, span.start, span.end)
        # What follows the stop token, such as a newline, is the template's and never generated.
        answer = text[span.start : stop.end()] if stop else ""
        if says(messages[place], answer) and text.endswith(template.header, 0, span.start):
            located[place] = Span(span.start, span.start + len(answer))
    return located


def _find_headers(text: str, header: str) -> list[Span]:
    """Find the text after each header, up to the next one."""
    starts = [match.end() for match in re.finditer(re.escape(header), text)]
    ends = [*(start - len(header) for start in starts[1:]), len(text)]
    return [Span(start, end) for start, end in zip(starts, ends, strict=False)]


def says(message: Mapping[str, Any], answer: str) -> bool:
    """Check that a rendered answer contains all that its message says."""
    said = [message.get("content"), message.get("reasoning_content")]
    called = [call["function"]["name"] for call in message.get("tool_calls") or ()]
    texts = [text for text in [*said, *called] if isinstance(text, str)]
    return bool(answer) and all(text.strip() in answer for text in texts)
