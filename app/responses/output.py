"""Output items of a response, written from the parts of a chat's answer, with an event for each.

A whole answer is written as one part, so that both kinds of answers have the same items.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.responses.item_ids import output_item_id
from app.wire.items import ItemDict

Event = dict[str, Any]
# Of a part of a message, what comes in a delta of the chat.
TEXT_FIELDS = (
    ("reasoning_content", "reasoning_text"),
    ("content", "output_text"),
    ("refusal", "refusal"),
)


class OutputWriter:
    """Writes one item after the other; a part of another kind ends the item that is open.

    Events share their contents with the items: serialize each before the next is made.
    """

    def __init__(self, response_id: str) -> None:
        self.output: list[ItemDict] = []
        self._response_id = response_id
        # The kind of the text that is open, or the index of the call; None if no item is.
        self._open: str | int | None = None
        self._pieces: list[str] = []

    def write(self, delta: Mapping[str, Any], logprobs: Sequence[Any] = ()) -> Iterator[Event]:
        """Write a part. Raises ValueError if it belongs to a call that has ended."""
        for field, kind in TEXT_FIELDS:
            if text := delta.get(field):
                yield from self._write_text(kind, text, logprobs if field == "content" else ())
        for call in delta.get("tool_calls") or ():
            yield from self._write_call(call)

    def end(self, *, is_complete: bool) -> Iterator[Event]:
        """End the last item. An answer without any has an empty text."""
        if not self.output and is_complete:
            yield from self._open_text("output_text")
        yield from self._end_item("completed" if is_complete else "incomplete")

    def write_item(self, item: ItemDict, number: int) -> Iterator[Event]:
        """Write and end an item that was written before."""
        if item["type"] == "function_call":
            function = {"name": item["name"], "arguments": item["arguments"]}
            call = {"index": number, "id": item["call_id"], "function": function}
            yield from self._write_call(call)
        for part in item.get("content", ()):
            kind = part["type"]
            yield from self._open_text(kind)
            if text := part[_text_field(kind)]:
                yield from self._write_text(kind, text, part.get("logprobs") or ())
        yield from self._end_item(item["status"])

    def _write_text(self, kind: str, text: str, logprobs: Sequence[Any]) -> Iterator[Event]:
        if self._open != kind:
            yield from self._end_item()
            yield from self._open_text(kind)
        self._pieces.append(text)
        event = self._event(f"response.{kind}.delta", content_index=0, delta=text)
        if kind == "output_text":
            described = [_to_logprob(each) for each in logprobs]
            self._part["logprobs"] += described
            event["logprobs"] = described
        yield event

    def _open_text(self, kind: str) -> Iterator[Event]:
        is_reasoning = kind == "reasoning_text"
        item = self._new_item("reasoning" if is_reasoning else "message")
        if is_reasoning:
            item["summary"] = []
        else:
            item["role"] = "assistant"
        item["content"] = []
        yield self._add_item(item, kind)
        item["content"] = [_empty_part(kind)]
        yield self._event("response.content_part.added", content_index=0, part=dict(self._part))

    def _write_call(self, call: Mapping[str, Any]) -> Iterator[Event]:
        function = call.get("function") or {}
        if self._open != call["index"]:
            if not function.get("name"):
                raise ValueError("the part of a call has no name, and no call that it continues")
            yield from self._end_item()
            item = self._new_item("function_call")
            item |= {"call_id": call.get("id") or item["id"], "name": function["name"]}
            item["arguments"] = ""
            yield self._add_item(item, int(call["index"]))
        if arguments := function.get("arguments"):
            self._pieces.append(arguments)
            yield self._event("response.function_call_arguments.delta", delta=arguments)

    def _end_item(self, status: str = "completed") -> Iterator[Event]:
        if self._open is None:
            return
        item = self.output[-1]
        item["status"] = status
        text = "".join(self._pieces)
        self._pieces.clear()
        if isinstance(self._open, int):
            item["arguments"] = text
            yield self._event("response.function_call_arguments.done", arguments=text)
        else:
            yield from self._end_text(self._open, text)
        self._open = None
        index = len(self.output) - 1
        yield {"type": "response.output_item.done", "output_index": index, "item": _copy(item)}

    def _end_text(self, kind: str, text: str) -> Iterator[Event]:
        part = self._part
        part[_text_field(kind)] = text
        done = self._event(f"response.{kind}.done", content_index=0, **{_text_field(kind): text})
        if kind == "output_text":
            done["logprobs"] = part["logprobs"]
        yield done
        yield self._event("response.content_part.done", content_index=0, part=part)

    def _new_item(self, kind: str) -> ItemDict:
        item_id = output_item_id(kind, self._response_id, len(self.output))
        return {"id": item_id, "type": kind, "status": "in_progress"}

    def _add_item(self, item: ItemDict, opened: str | int) -> Event:
        self.output.append(item)
        self._open = opened
        index = len(self.output) - 1
        return {"type": "response.output_item.added", "output_index": index, "item": _copy(item)}

    @property
    def _part(self) -> dict[str, Any]:
        part: dict[str, Any] = self.output[-1]["content"][0]
        return part

    def _event(self, kind: str, **fields: Any) -> Event:
        place = {"item_id": self.output[-1]["id"], "output_index": len(self.output) - 1}
        return {"type": kind, **place, **fields}


def _text_field(kind: str) -> str:
    return "refusal" if kind == "refusal" else "text"


def _empty_part(kind: str) -> dict[str, Any]:
    part: dict[str, Any] = {"type": kind, _text_field(kind): ""}
    return part | {"annotations": [], "logprobs": []} if kind == "output_text" else part


def _copy(item: ItemDict) -> ItemDict:
    """A copy of an item as an event has it, since it is written on."""
    return {**item, "content": list(item["content"])} if "content" in item else dict(item)


def _to_logprob(entry: Mapping[str, Any]) -> dict[str, Any]:
    top = [_without_alternatives(each) for each in entry.get("top_logprobs") or ()]
    return {**_without_alternatives(entry), "top_logprobs": top}


def _without_alternatives(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "token": entry["token"],
        "bytes": entry.get("bytes") or [],
        "logprob": entry["logprob"],
    }
