"""Answers put together from their streams."""

import json
from typing import Any

import pytest

from app.stored_completions.answers import parse_answer


def make_stream(*events: dict[str, Any]) -> bytes:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


def event(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    top = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**top, "choices": list(choices), **more}


def part(index: int, finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def call(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    name = {"name": more.pop("name")} if "name" in more else {}
    return {"index": index, **more, "function": {**name, "arguments": arguments}}


def test_choices_and_their_texts() -> None:
    stream = make_stream(
        event(part(0, role="assistant", content="")),
        event(part(1, role="assistant", content="")),
        event(part(1, content="B")),
        event(part(0, reasoning_content="so", content=None)),
        event(part(0, content="A1")),
        event(part(0, content="A2")),
        event(part(0, finish_reason="stop")),
        event(part(1, finish_reason="length")),
        event(usage={"total_tokens": 5}),
    )
    answer = parse_answer(b": ping\n\n" + stream, is_stream=True)
    assert answer is not None
    assert answer["object"] == "chat.completion"
    assert answer["usage"] == {"total_tokens": 5}
    first, second = answer["choices"]
    assert first["message"]["content"] == "A1A2"
    assert first["message"]["reasoning_content"] == "so"
    assert [first["finish_reason"], second["finish_reason"]] == ["stop", "length"]
    assert second["message"]["content"] == "B"


def test_calls_and_logprobs() -> None:
    logprob = {"token": "x", "logprob": -1.0, "bytes": None, "top_logprobs": []}
    stream = make_stream(
        event(part(0, tool_calls=[call(0, "", id="call_1", type="function", name="f")])),
        event(part(0, tool_calls=[call(0, '{"a"')])),
        event({**part(0, tool_calls=[call(0, ": 1}")]), "logprobs": {"content": [logprob]}}),
        event(part(0, tool_calls=[call(1, "{}", id="call_2", type="function", name="g")])),
        event(part(0, finish_reason="tool_calls")),
    )
    answer = parse_answer(stream, is_stream=True)
    assert answer is not None
    (choice,) = answer["choices"]
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
        {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    assert choice["logprobs"] == {"content": [logprob], "refusal": None}


def test_what_is_no_answer() -> None:
    failed = make_stream(event(part(0, content="A")), {"error": {"message": "lost"}})
    assert parse_answer(failed, is_stream=True) is None
    assert parse_answer(make_stream(), is_stream=True) is None
    for body in (b"", b"[]", b"{}", b'{"id": "x", "choices": []}', b'{"id": 1, "choices": [1]}'):
        assert parse_answer(body, is_stream=False) is None


@pytest.mark.parametrize("index", [-1, 10**9])
def test_calls_out_of_bounds_are_no_answer(index: int) -> None:
    """Of a broken engine; they must not take the memory, or the other answers of a batch."""
    stream = make_stream(event(part(0, tool_calls=[call(index, "{}", id="call_1", name="f")])))
    assert parse_answer(stream, is_stream=True) is None
