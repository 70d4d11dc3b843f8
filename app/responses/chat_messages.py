"""Items of a response as messages of a chat.

A chat has one message per turn of the model, with its text and calls, and the results right after
it. Items come one by one, and results anywhere behind their call.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any

from app.errors import InvalidRequest
from app.wire.items import ItemDict

ChatMessage = dict[str, Any]
MAX_QUOTED_ID_CHARS = 64
# Types of parts and their fields in a chat.
CHAT_PARTS = {"input_text": "text", "output_text": "text", "refusal": "refusal"}


def to_messages(items: Sequence[ItemDict], instructions: str | None) -> list[ChatMessage]:
    """Convert items in order. Raises InvalidRequest for calls without result, and the reverse."""
    conversion = _Conversion(items)
    if instructions:
        conversion.messages.append({"role": "system", "content": instructions})
    for item in items:
        conversion.add(item)
    conversion.end()
    return conversion.messages


class _Conversion:
    def __init__(self, items: Iterable[ItemDict]) -> None:
        self.messages: list[ChatMessage] = []
        # The model's turn that further items belong to.
        self._turn: ChatMessage | None = None
        self._results: defaultdict[str, deque[ItemDict]] = defaultdict(deque)
        for item in items:
            if item["type"] == "function_call_output":
                self._results[item["call_id"]].append(item)

    def add(self, item: ItemDict) -> None:
        match item["type"]:
            case "function_call_output":
                # It has its place after the call.
                self._end_turn()
            case "function_call":
                self._add_call(item)
            case "reasoning":
                self._add_reasoning(item)
            case _ if item["role"] == "assistant":
                self._add_answer(item)
            case _:
                self._end_turn()
                content = _to_content(item["content"])
                self.messages.append({"role": item["role"], "content": content})

    def end(self) -> None:
        self._end_turn()
        without_call = next((call_id for call_id, left in self._results.items() if left), None)
        if without_call is not None:
            raise InvalidRequest(
                "No tool call found for function call output with call_id "
                f"{without_call[:MAX_QUOTED_ID_CHARS]}.",
                param="input",
            )

    def _add_reasoning(self, item: ItemDict) -> None:
        text = "".join(part["text"] for part in item["content"])
        if text:
            self._end_turn()
            self._open_turn()["reasoning_content"] = text

    def _add_answer(self, item: ItemDict) -> None:
        if self._turn is not None and (self._turn["content"] or "tool_calls" in self._turn):
            self._end_turn()
        self._open_turn()["content"] = _to_content(item["content"])

    def _add_call(self, item: ItemDict) -> None:
        function = {"name": item["name"], "arguments": item["arguments"]}
        call = {"id": item["call_id"], "type": "function", "function": function}
        self._open_turn().setdefault("tool_calls", []).append(call)

    def _open_turn(self) -> ChatMessage:
        if self._turn is None:
            self._turn = {"role": "assistant", "content": None}
        return self._turn

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is None:
            return
        if turn["content"] is None and "tool_calls" not in turn:
            # An answer that ended within its reasoning.
            turn["content"] = ""
        self.messages.append(turn)
        for call in turn.get("tool_calls", ()):
            self.messages.append(self._take_result(call["id"]))

    def _take_result(self, call_id: str) -> ChatMessage:
        results = self._results[call_id]
        if not results:
            raise InvalidRequest(
                f"No tool output found for function call {call_id[:MAX_QUOTED_ID_CHARS]}.",
                param="input",
            )
        output = results.popleft()["output"]
        content = output if isinstance(output, str) else _to_content(output)
        return {"role": "tool", "tool_call_id": call_id, "content": content}


def _to_content(parts: Sequence[ItemDict]) -> str | list[ItemDict]:
    if len(parts) == 1 and "text" in parts[0]:
        text: str = parts[0]["text"]
        return text
    return [_to_chat_part(part) for part in parts]


def _to_chat_part(part: ItemDict) -> ItemDict:
    field = CHAT_PARTS[part["type"]]
    return {"type": field, field: part[field]}
