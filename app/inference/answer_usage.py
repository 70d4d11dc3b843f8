"""Usage of answers, read from what engines send without parsing the rest of it."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.usage.ledger import UsageCounts

# Can only be a key: inside of a string, quotes are escaped.
KEY = b'"usage":{'
# Enough for `usage` with its details, wherever it stands in the object around it.
MAX_USAGE_BYTES = 2000
# Of all events but the last, in a stream with usage.
NULL = b',"usage":null}\n\n'
NO_CHOICES = b'"choices":[]'
EVENT_END = b"\n\n"
# What JSON can hold exactly. An engine that sends more, or less than 0, is not believed.
MAX_COUNT = 2**53
TOKEN_EVENT = re.compile(rb"^data: \{", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of one answer; `cached` is a part of `input`, and `reasoning` of `output`."""

    input: int
    cached: int
    output: int
    reasoning: int


def request_usage(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Ask for the usage of a stream too, whatever its client asked for.

    Options that are no object are left as they are: the engine refuses them.
    """
    options = body.get("stream_options")
    if not body.get("stream") or not isinstance(options, Mapping | None):
        return body
    return {**body, "stream_options": {**(options or {}), "include_usage": True}}


def wants_usage(body: Mapping[str, Any]) -> bool:
    """True if the client of a stream gets its usage."""
    options = body.get("stream_options")
    return isinstance(options, Mapping) and bool(options.get("include_usage"))


def read_usage(body: bytes) -> UsageCounts | None:
    """Read the usage of an answer, or of the last event of a stream; None if it has none."""
    tokens = read_tokens(body)
    if tokens is None:
        return None
    return UsageCounts(1, tokens.input, tokens.cached, tokens.output)


def read_tokens(body: bytes) -> TokenCounts | None:
    """Read the tokens of an answer's usage, as `read_usage`."""
    start = body.rfind(KEY)
    if start < 0:
        return None
    piece = body[start + len(KEY) - 1 : start + MAX_USAGE_BYTES]
    depth = 0
    for end, byte in enumerate(piece):
        depth += (byte == 0x7B) - (byte == 0x7D)
        if depth == 0:
            return _parse(piece[: end + 1])
    return None


def _parse(text: bytes) -> TokenCounts | None:
    try:
        usage = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    counts = (
        usage.get("prompt_tokens", 0),
        _read_detail(usage, "prompt_tokens_details", "cached_tokens"),
        usage.get("completion_tokens") or 0,
        _read_detail(usage, "completion_tokens_details", "reasoning_tokens"),
    )
    return TokenCounts(*counts) if all(map(_is_count, counts)) else None


def _read_detail(usage: Mapping[str, Any], details: str, name: str) -> Any:
    found = usage.get(details)
    return found.get(name) or 0 if isinstance(found, dict) else 0


def _is_count(value: Any) -> bool:
    # Not isinstance, which would include booleans.
    return type(value) is int and 0 <= value <= MAX_COUNT


class UsageReader:
    """Reads the usage of a response while it passes; None until it has come.

    Of a stream, events arrive whole at the client, and those of usage only if it asked for them.
    """

    def __init__(self, *, is_stream: bool, is_wanted: bool) -> None:
        self._is_stream = is_stream
        self._is_wanted = is_wanted
        self.usage: UsageCounts | None = None
        # Of a stream without usage: each event has at least one token, apart from those that begin
        # a choice.
        self.num_events = 0

    async def read(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield what the client gets."""
        if not self._is_stream:
            async for chunk in chunks:
                self.usage = read_usage(chunk)
                yield chunk
            return
        rest = b""
        async for chunk in chunks:
            rest += chunk
            end = rest.rfind(EVENT_END) + len(EVENT_END)
            if end >= len(EVENT_END):
                events, rest = rest[:end], rest[end:]
                if passed := self._pass_events(events):
                    yield passed
        if rest:
            yield rest

    def _pass_events(self, events: bytes) -> bytes:
        self.num_events += len(TOKEN_EVENT.findall(events))
        if KEY in events:
            self.usage = read_usage(events) or self.usage
        if self._is_wanted:
            return events
        events = events.replace(NULL, b"}" + EVENT_END)
        if KEY not in events:
            return events
        kept = (event for event in events.split(EVENT_END) if event and not _is_usage(event))
        return b"".join(event + EVENT_END for event in kept)


def _is_usage(event: bytes) -> bool:
    """True if an event has nothing else; that of another engine may have the last token too."""
    return KEY in event and NO_CHOICES in event
