"""Answers of other engines that are odd, and their errors under our names."""

import json
from collections.abc import AsyncIterator

import pytest

from app.engine_options import EngineKind
from app.inference.dialects import is_unknown_adapter
from app.inference.engine_errors import EngineUnavailable
from app.inference.foreign_answers import translate_answer, translate_error, translate_events

pytestmark = pytest.mark.anyio

UNKNOWN = "The LoRA adapter 'luthier-1' does not exist."


@pytest.mark.parametrize("choices", [[None], {"a": 1}, "text", 3])
def test_choices_that_are_none_mean_that_the_engine_is_unavailable(choices: object) -> None:
    with pytest.raises(EngineUnavailable):
        translate_answer(json.dumps({"choices": choices}).encode(), name="m")


@pytest.mark.parametrize("data", [b'{"choices": [null]}', b'{"choices": ['])
async def test_an_odd_event_becomes_an_error(data: bytes) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"data: " + data + b"\n\n"

    text = b"".join([each async for each in translate_events(chunks(), name="m", names={})])
    event = json.loads(text.removeprefix(b"data: "))
    assert event["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("`a` is bad: org/a, a.1, x-a, a:b", "`qwen` is bad: org/a, a.1, x-a, a:b"),
        ("bad model:a.", "bad model:qwen."),
    ],
)
def test_whole_names_are_replaced(said: str, expected: str) -> None:
    error = translate_error(400, json.dumps({"message": said}).encode(), names={"a": "qwen"})
    assert str(error) == expected


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (400, json.dumps({"object": "error", "message": UNKNOWN}), True),
        (200, "data: " + json.dumps({"error": {"message": UNKNOWN}}) + "\n\n", True),
        (200, json.dumps({"choices": [{"text": 'An "error": it does not exist.'}]}), False),
        (200, "data: " + json.dumps({"choices": [{"text": '"error" does not exist'}]}), False),
        (400, json.dumps({"message": "max_tokens is too large"}), False),
    ],
)
def test_only_an_error_of_sglang_says_that_an_adapter_is_not_loaded(
    status: int, text: str, expected: bool
) -> None:
    assert is_unknown_adapter(EngineKind.SGLANG, status, text.encode()) is expected
