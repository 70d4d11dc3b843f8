"""Answers as they are stored: the body of a response, or one put together from its stream."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

DONE = b"[DONE]"
# Of a chunk, those of the whole answer; the first chunk has them all.
TOP_FIELDS = ("id", "created", "model", "service_tier", "system_fingerprint")
# Of one message; far more than any engine makes.
MAX_CALLS = 1000
TEXT_FIELDS = ("content", "refusal", "reasoning_content")


def parse_answer(body: bytes, *, is_stream: bool) -> dict[str, Any] | None:
    """The answer as `object: chat.completion`; None for an error, or a stream that ended early."""
    try:
        answer = _join(body) if is_stream else orjson.loads(body)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return answer if _is_answer(answer) else None


def _is_answer(answer: Any) -> bool:
    return (
        isinstance(answer, dict)
        and isinstance(answer.get("id"), str)
        and isinstance(answer.get("choices"), list)
        and answer["choices"] != []
        and all(isinstance(choice.get("message"), dict) for choice in answer["choices"])
    )


def _join(stream: bytes) -> dict[str, Any] | None:
    """Join the events of a stream."""
    events = list(_read_events(stream))
    if not events or any("error" in event for event in events):
        return None
    first = events[0]
    answer = {name: first[name] for name in TOP_FIELDS if name in first}
    answer["object"] = "chat.completion"
    choices: dict[int, dict[str, Any]] = {}
    for event in events:
        for part in event["choices"]:
            _add_part(choices.setdefault(part["index"], _new_choice(part["index"])), part)
        if event.get("usage"):
            answer["usage"] = event["usage"]
    answer["choices"] = [choices[index] for index in sorted(choices)]
    return answer


def _read_events(stream: bytes) -> Iterator[dict[str, Any]]:
    for line in stream.split(b"\n"):
        data = line.removeprefix(b"data:").strip()
        if line.startswith(b"data:") and data != DONE:
            yield orjson.loads(data)


def _new_choice(index: int) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "annotations": [],
    }
    return {"index": index, "message": message, "logprobs": None, "finish_reason": None}


def _add_part(choice: dict[str, Any], part: Mapping[str, Any]) -> None:
    delta, message = part["delta"], choice["message"]
    for name in TEXT_FIELDS:
        if delta.get(name):
            message[name] = (message.get(name) or "") + delta[name]
    for call in delta.get("tool_calls") or ():
        _add_call(message.setdefault("tool_calls", []), call)
    if delta.get("function_call"):
        _add_function(message.setdefault("function_call", {}), delta["function_call"])
    if part.get("logprobs"):
        choice["logprobs"] = choice["logprobs"] or {"content": [], "refusal": None}
        choice["logprobs"]["content"] += part["logprobs"].get("content") or []
    choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]


def _add_call(calls: list[dict[str, Any]], delta: Mapping[str, Any]) -> None:
    if not 0 <= delta["index"] <= MAX_CALLS:
        raise ValueError("a tool call's index is out of bounds")
    while len(calls) <= delta["index"]:
        calls.append({"id": None, "type": "function", "function": {}})
    call = calls[delta["index"]]
    call["id"] = delta.get("id") or call["id"]
    _add_function(call["function"], delta.get("function") or {})


def _add_function(function: dict[str, Any], delta: Mapping[str, Any]) -> None:
    function["name"] = delta.get("name") or function.get("name")
    function["arguments"] = function.get("arguments", "") + (delta.get("arguments") or "")
