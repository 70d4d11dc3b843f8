"""Answers of a chat as responses: a whole one, or the events of a stream."""

from collections.abc import Iterator, Mapping, Sequence
from time import time
from typing import Any

import orjson

from app.responses.output import Event, OutputWriter
from app.responses.serializers import ResponseDict, to_usage
from app.wire.items import ItemDict

# Reasons for which a chat's answer ends before it is complete.
INCOMPLETE_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponseAnswer:
    """Builds a response from the parts of a chat's answer, and makes the events of its stream."""

    def __init__(self, response: ResponseDict, *, first_number: int = 0) -> None:
        self.response = response
        self._writer = OutputWriter(response["id"])
        self._finish_reason: str | None = None
        self._next_number = first_number

    @property
    def has_failed(self) -> bool:
        return bool(self.response["status"] == "failed")

    def begin(self) -> Iterator[Event]:
        for kind in ("response.created", "response.in_progress"):
            yield self._number({"type": kind, "response": dict(self.response)})

    def write(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        """Write a chunk of a stream. Raises ValueError, LookupError and TypeError for nonsense."""
        if chunk.get("usage"):
            self.response["usage"] = to_usage(chunk["usage"])
        for choice in chunk["choices"][:1]:
            logprobs = (choice.get("logprobs") or {}).get("content") or ()
            for event in self._writer.write(choice["delta"], logprobs):
                yield self._number(event)
            self._finish_reason = choice.get("finish_reason") or self._finish_reason

    def write_whole(self, completion: Mapping[str, Any]) -> None:
        """Write a whole answer. Raises as `write`."""
        choice = completion["choices"][0]
        message = choice["message"]
        calls = [
            {**call, "index": index} for index, call in enumerate(message.get("tool_calls") or ())
        ]
        part = {**choice, "delta": {**message, "tool_calls": calls}}
        list(self.write({"choices": [part], "usage": completion.get("usage")}))
        list(self.end())

    def write_items(self, items: Sequence[ItemDict]) -> Iterator[Event]:
        """Write items of a response that has ended, each as one part."""
        for number, item in enumerate(items):
            for event in self._writer.write_item(item, number):
                yield self._number(event)

    def end(self) -> Iterator[Event]:
        """End the items and settle the state. The last event is made by `last_event`."""
        if self._finish_reason is None:
            raise ValueError("the answer has no end")
        reason = INCOMPLETE_REASONS.get(self._finish_reason)
        for event in self._writer.end(is_complete=reason is None):
            yield self._number(event)
        self.response["output"] = self._writer.output
        if reason is None:
            self.response |= {"status": "completed", "completed_at": int(time())}
        else:
            self.response |= {"status": "incomplete", "incomplete_details": {"reason": reason}}

    def fail(self, message: str) -> None:
        """End the response with an error, and what was answered until then."""
        list(self._writer.end(is_complete=False))
        self.response["output"] = self._writer.output
        error = {"code": "server_error", "message": message}
        self.response |= {"status": "failed", "error": error}

    def last_event(self) -> Event:
        kind = f"response.{self.response['status']}"
        return self._number({"type": kind, "response": self.response})

    def _number(self, event: Event) -> Event:
        event["sequence_number"] = self._next_number
        self._next_number += 1
        return event


def to_sse(events: Iterator[Event]) -> bytes:
    """Server-sent events, with their types as names."""
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))
        for event in events
    )
