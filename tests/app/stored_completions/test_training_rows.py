"""Rows of training files from stored completions."""

import json
from typing import Any

import pytest

from app.formats import chat, preference
from app.stored_completions.training_rows import (
    RowKind,
    UnusableCompletion,
    make_row,
    make_rows,
)

HELLO = {"role": "user", "content": "hello"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}


def make_completion(
    *messages: dict[str, Any],
    answer: dict[str, Any] | None = None,
    finish_reason: str = "stop",
    correction: dict[str, Any] | None = None,
    **request: Any,
) -> dict[str, Any]:
    message = {"role": "assistant", "refusal": None, "annotations": []} | (
        answer or {"content": "Hi"}
    )
    return {
        "id": "chatcmpl-1",
        "request": {"model": "m", "messages": list(messages) or [HELLO], **request},
        "response": {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]},
        "correction": correction,
    }


def test_tools_and_response_format_are_kept() -> None:
    completion = make_completion(
        tools=[TOOL], parallel_tool_calls=False, response_format=SCHEMA, temperature=0.5, n=1
    )
    row = make_row(RowKind.CHAT, completion)
    assert row == {
        "messages": [HELLO, {"role": "assistant", "content": "Hi"}],
        "tools": [TOOL],
        "parallel_tool_calls": False,
        "response_format": SCHEMA,
    }
    chat.FORMAT.check(row)


def test_tools_that_the_prompt_did_not_have_are_left_out() -> None:
    row = make_row(RowKind.CHAT, make_completion(tools=[TOOL], tool_choice="none"))
    assert "tools" not in row


def test_calls_are_answers() -> None:
    answer = {"content": "", "tool_calls": [{**CALL, "index": 0}]}
    row = make_row(RowKind.CHAT, make_completion(answer=answer, finish_reason="tool_calls"))
    assert row["messages"][-1] == {"role": "assistant", "tool_calls": [CALL]}


def test_only_the_stored_answer_is_trained_on() -> None:
    """Each earlier answer was one of its own, and would be learned once per later turn."""
    earlier = {"role": "assistant", "content": "Yes?", "id": "chatcmpl-0-1", "audio": {"id": "a"}}
    row = make_row(RowKind.CHAT, make_completion(HELLO, earlier, HELLO))
    weights = [message.weight for message in chat.to_example(row).messages]
    assert weights == [1, 0, 1, 1]
    assert row["messages"][1] == {"role": "assistant", "content": "Yes?", "weight": 0}


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        (make_completion(finish_reason="length"), "cut off"),
        (make_completion(answer={"content": " "}), "empty"),
        (make_completion({"role": "user", "content": "<|endoftext|>"}), "invalid token"),
        (
            make_completion(
                tools=[{**TOOL, "function": {"name": "g"}}], answer={"tool_calls": [CALL]}
            ),
            "tools does not have it",
        ),
    ],
)
def test_what_is_no_example(completion: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableCompletion, match=reason):
        make_row(RowKind.CHAT, completion)


def test_a_correction_is_the_answer() -> None:
    correction = {"role": "assistant", "content": "Better"}
    cut_off = make_completion(finish_reason="length", correction=correction)
    assert make_row(RowKind.CHAT, cut_off)["messages"][-1] == correction


@pytest.mark.parametrize("kind", RowKind)
@pytest.mark.parametrize(
    ("correction", "request_fields", "reason"),
    [
        ({"content": ""}, {}, "The correction is empty"),
        ({"tool_calls": [CALL]}, {}, '"f" is called'),
        ({"tool_calls": [CALL]}, {"tools": [TOOL], "tool_choice": "none"}, '"f" is called'),
    ],
)
def test_corrections_that_teach_what_no_request_asks_for(
    kind: RowKind, correction: dict[str, Any], request_fields: dict[str, Any], reason: str
) -> None:
    """Previous versions stored them."""
    completion = make_completion(correction={"role": "assistant"} | correction, **request_fields)
    with pytest.raises(UnusableCompletion, match=reason):
        make_row(kind, completion)


def test_a_preference_of_the_correction() -> None:
    correction = {"role": "assistant", "content": "Better"}
    row = make_row(RowKind.PREFERENCE, make_completion(correction=correction, tools=[TOOL]))
    example = preference.to_example(row)
    assert (example.chosen.content, example.rejected.content) == ("Better", "Hi")
    assert example.tools == (TOOL,)


def test_lines_and_what_was_skipped() -> None:
    completions = [make_completion(), make_completion(finish_reason="length")]
    completions[1]["id"] = "chatcmpl-2"
    head, *lines = make_rows(
        json.dumps({"kind": "chat", "completions": completions}).encode()
    ).split(b"\n")
    assert json.loads(head) == {
        "ids": ["chatcmpl-1"],
        "skipped": 1,
        "first": [{"id": "chatcmpl-2", "reason": "The answer was cut off (length)."}],
    }
    assert [json.loads(line) for line in lines] == [make_row(RowKind.CHAT, completions[0])]
