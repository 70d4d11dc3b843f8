"""Checks of a batch's input, line by line."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.batches import input as batch_input
from app.batches.endpoints import BATCH_ENDPOINTS
from app.batches.input import CheckedInput, check, parse_line
from app.formats.lines import Line, LineSplitter
from tests.app.batches.conftest import make_line, to_jsonl

MAX_LINE_BYTES = 4096
CHAT = BATCH_ENDPOINTS["/v1/chat/completions"]
EMBEDDINGS = BATCH_ENDPOINTS["/v1/embeddings"]
RESPONSES = BATCH_ENDPOINTS["/v1/responses"]
TOOL = {"type": "function", "name": "add"}
CALL = {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": "{}"}


def split(content: bytes) -> Iterator[Line]:
    splitter = LineSplitter(MAX_LINE_BYTES)
    yield from splitter.feed(content)
    yield from splitter.finish()


def check_content(content: bytes, endpoint: Any = CHAT) -> CheckedInput:
    return check(split(content), endpoint, max_line_bytes=MAX_LINE_BYTES)


def make_embedding(number: int, texts: int) -> dict[str, Any]:
    body = {"model": "encoder", "input": ["a"] * texts}
    return make_line(number, url="/v1/embeddings", body=body)


def with_field(name: str, value: Any) -> dict[str, Any]:
    """The second line, with one more field."""
    return make_line(1, body={**make_line(1)["body"], name: value})


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"{"], ("invalid_json_line", 1, None)),
        ([b"[1]"], ("invalid_json_line", 1, None)),
        ([make_line(0), make_line(0)], ("duplicate_custom_id", 2, "custom_id")),
        ([make_line(0, method="GET")], ("invalid_method", 1, "method")),
        ([make_line(0, url="/v1/embeddings")], ("url_mismatch", 1, "url")),
        ([make_line(0, body=None)], ("missing_required_parameter", 1, "body")),
        ([make_line(0, custom_id=7)], ("missing_required_parameter", 1, "custom_id")),
        (
            [make_line(0), make_line(1, body={"model": "base"})],
            ("missing_required_parameter", 2, "body.messages"),
        ),
        (
            [make_line(0, body={**make_line(0)["body"], "stream": True})],
            ("invalid_request", 1, "body.stream"),
        ),
        (
            [make_line(0), make_line(1, body={**make_line(0)["body"], "model": "base"})],
            ("model_mismatch", 2, "body.model"),
        ),
        ([make_line(0), with_field("max_tokens", -1)], ("invalid_value", 2, "body.max_tokens")),
        ([with_field("n", 500)], ("invalid_value", 1, "body.n")),
        ([with_field("tools", [])], ("empty_array", 1, "body.tools")),
        (
            [with_field("response_format", {"type": "json_schema", "json_schema": {"name": "n"}})],
            ("missing_required_parameter", 1, "body.response_format.json_schema.schema"),
        ),
        ([b""], ("empty_batch", None, None)),
    ],
)
def test_an_invalid_line_is_named(
    lines: list[Any], expected: tuple[str, int | None, str | None]
) -> None:
    content = b"".join(
        line + b"\n" if isinstance(line, bytes) else to_jsonl([line]) for line in lines
    )
    (error,) = check_content(content).errors
    assert (error.code, error.line, error.param) == expected
    assert error.message.endswith((".", "'."))


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"input": None}, "missing_required_parameter", "body.input"),
        ({"stream": True}, "invalid_request", "body.stream"),
        ({"background": True}, "invalid_request", "body.background"),
        ({"previous_response_id": "resp_1"}, "invalid_request", "body.previous_response_id"),
        ({"input": None, "conversation": "conv_1"}, "invalid_request", "body.conversation"),
        (
            {"input": [{"type": "item_reference", "id": "msg_1"}]},
            "invalid_request",
            "body.input[0]",
        ),
        ({"prompt": {"id": "p"}}, "invalid_value", "body.prompt"),
        ({"tools": [{"type": "web_search"}]}, "invalid_value", "body.tools[0]"),
        ({"input": [CALL]}, "invalid_request", "body.input"),
        # By the engine's rules, with the names of this endpoint: no messages, and two alike tools.
        ({"input": [{"type": "reasoning", "summary": []}]}, "invalid_value", "body.input"),
        ({"tools": [TOOL, TOOL]}, "invalid_value", "body.tools"),
    ],
)
def test_an_invalid_response_is_named(fields: dict[str, Any], code: str, param: str) -> None:
    body = {"model": "base", "input": "hi"} | fields
    line = make_line(0, url="/v1/responses", body=body)
    (error,) = check_content(to_jsonl([line]), RESPONSES).errors
    assert (error.code, error.line, error.param) == (code, 1, param)


def test_what_a_response_is_stored_for_is_no_error() -> None:
    """As in chats, it has no effect."""
    body = {"model": "base", "input": "hi", "store": True, "metadata": {"a": "b"}}
    line = make_line(0, url="/v1/responses", body=body)
    assert check_content(to_jsonl([line]), RESPONSES).errors == []


def test_another_engine_judges_its_own_fields() -> None:
    """As with live requests, which the API forwards."""
    lines = split(to_jsonl([with_field("n", 500)]))
    asked: list[str] = []

    def is_built_in(model: str) -> bool:
        asked.append(model)
        return False

    found = check(lines, CHAT, max_line_bytes=MAX_LINE_BYTES, is_built_in=is_built_in)
    assert found.errors == []
    assert asked == [found.model], "once, not for each line"


def test_too_long_a_line_is_not_read() -> None:
    content = to_jsonl([make_line(0, "x" * MAX_LINE_BYTES), make_line(1)])
    (error,) = check_content(content).errors
    assert (error.code, error.line) == ("request_too_large", 1)


def test_errors_are_bounded() -> None:
    assert len(check_content(b"{\n" * 500).errors) == batch_input.MAX_ERRORS


def test_requests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_input, "MAX_REQUESTS", 3)
    lines = [make_line(number) for number in range(5)]
    assert check_content(to_jsonl(lines[:3])).errors == []
    (error,) = check_content(to_jsonl(lines)).errors
    assert (error.code, error.line) == ("too_many_tasks", 4)


def test_texts_to_embed_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_input, "MAX_EMBEDDING_INPUTS", 6)
    lines = [make_embedding(number, 3) for number in range(4)]
    assert check_content(to_jsonl(lines[:2]), EMBEDDINGS).errors == []
    (error,) = check_content(to_jsonl(lines), EMBEDDINGS).errors
    assert (error.code, error.line) == ("too_many_inputs", 3)


def test_ranges_are_bounded_in_texts_to_embed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose answers are large. A request with more has a range of its own."""
    monkeypatch.setattr(batch_input, "MAX_RANGE_INPUTS", 6)
    lines = [make_embedding(number, texts) for number, texts in enumerate((3, 3, 1, 9, 2))]
    found = check_content(to_jsonl(lines), EMBEDDINGS)
    assert [each.end_index for each in found.ranges] == [2, 3, 4, 5]


def test_ranges_hold_each_request_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded in requests and bytes, whatever blank lines there are."""
    monkeypatch.setattr(batch_input, "MAX_RANGE_REQUESTS", 4)
    monkeypatch.setattr(batch_input, "MAX_RANGE_BYTES", 2000)
    lines = [make_line(number, "x" * (900 * (number % 3 == 0))) for number in range(23)]
    content = b"\n\n".join(to_jsonl([line]) for line in lines)
    found = check_content(content)
    read = []
    for each in found.ranges:
        number = each.end_index - each.first_index
        assert 0 < number <= 4
        of_range = [line for _, _, line in split(content[each.source["offset"] :])][:number]
        assert len(of_range) == 1 or sum(map(len, filter(None, of_range))) <= 2000
        read += [parse_line(line or b"", CHAT).custom_id for line in of_range]
    assert found.num_requests == 23
    assert read == [line["custom_id"] for line in lines]
