"""Preference format: valid rows, invalid rows with their messages, and conversion."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.formats import (
    DatasetValidator,
    FormatName,
    InvalidTrainingFile,
    ValidationReport,
    chat,
    iter_examples,
    preference,
)

USER = {"role": "user", "content": "How are you?"}
GOOD = {"role": "assistant", "content": "Fine, thank you."}
BAD = {"role": "assistant", "content": "None of your business."}
CALL = {
    "role": "assistant",
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    ],
}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def row(**changes: Any) -> dict[str, Any]:
    chat_input = {"messages": [USER]}
    values = {"input": chat_input, "preferred_output": [GOOD], "non_preferred_output": [BAD]}
    return {key: value for key, value in (values | changes).items() if value is not None}


def validate(*rows: Any) -> ValidationReport:
    validator = DatasetValidator()
    validator.feed(b"\n".join(json.dumps(row).encode() for row in rows))
    return validator.finish()


RIGHT = {
    "plain": row(),
    "several turns": row(input={"messages": [{**USER, "role": "system"}, USER, GOOD, USER]}),
    "parts": row(preferred_output=[{**GOOD, "content": [{"type": "text", "text": "Fine."}]}]),
    "tools": row(
        input={"messages": [USER], "tools": [TOOL], "parallel_tool_calls": False},
        preferred_output=[CALL],
    ),
    "a tool's result": row(
        input={
            "messages": [USER, CALL, {"role": "tool", "tool_call_id": "c1", "content": "4"}],
            "tools": [TOOL],
        }
    ),
    "the older names": {
        "input": {"messages": [USER]},
        "preferred_completion": [GOOD],
        "non_preferred_completion": [BAD],
    },
}
# Invalid rows, and the start of the message after "Invalid file format. ".
WRONG: dict[str, tuple[Any, str]] = {
    "no input": (row(input=None), "Example 1 is missing key 'input'."),
    "no preferred output": (row(preferred_output=None), "Example 1 is missing key 'preferred_outp"),
    "no other": (row(non_preferred_output=None), "Example 1 is missing key 'non_preferred_output'"),
    "one key twice": (row(preferred_completion=[GOOD]), "Example 1 has both preferred_output and "),
    "an extra key": (row(weight=1), 'Example 1 contains an extra "weight".'),
    "input is text": (row(input="Hi"), "Example 1: input is a string, not an object"),
    "input without messages": (row(input={}), "Example 1: input is missing key 'messages'"),
    "an extra key of the input": (
        row(input={"messages": [USER], "model": "x"}),
        'Example 1 contains an extra "model".',
    ),
    "no messages": (row(input={"messages": []}), "Example 1: the input's messages is an empty"),
    "no role": (
        row(input={"messages": [USER, {"content": "x"}]}),
        "Example 1, message 2 Discriminator 'role' is missing in value.",
    ),
    "it has been answered": (
        row(input={"messages": [USER, GOOD]}),
        "Example 1: the input ends with a message from the assistant.",
    ),
    "a call without its result": (
        row(input={"messages": [USER, CALL, USER]}),
        "Example 1, message 3 comes before the tool call 'c1' is answered.",
    ),
    "an image": (
        row(input={"messages": [{**USER, "content": [{"type": "image_url", "image_url": {}}]}]}),
        "Example 1, message 1: images are not supported by text models.",
    ),
    "a call of a tool that is not offered": (
        row(
            input={"messages": [USER], "tools": [TOOL]},
            preferred_output=[
                {
                    "role": "assistant",
                    "tool_calls": [
                        {**CALL["tool_calls"][0], "function": {"name": "see", "arguments": "{}"}}
                    ],
                }
            ],
        ),
        'Example 1, message 2: the function "see" is called, and tools does not have it.',
    ),
    "a tool that is none": (
        row(input={"messages": [USER], "tools": [{}]}),
        "Example 1: tool 1 is not a function tool.",
    ),
    "output is text": (row(preferred_output="Fine."), "Example 1: preferred_output is a string."),
    "two outputs": (
        row(non_preferred_output=[BAD, BAD]),
        "Example 1: non_preferred_output is a list of 2.",
    ),
    "no output": (row(preferred_output=[]), "Example 1: preferred_output is a list of 0."),
    "the user's output": (
        row(preferred_output=[USER]),
        "Example 1: preferred_output is from the user.",
    ),
    "an output of nothing": (
        row(preferred_output=[{"role": "assistant"}]),
        "Example 1, preferred_output is missing content.",
    ),
    "a weight": (
        row(preferred_output=[{**GOOD, "weight": 0}]),
        'Example 1, preferred_output contains an extra "weight".',
    ),
    "a control token": (
        row(preferred_output=[{**GOOD, "content": "<|fim_suffix|>"}]),
        "Example 1, preferred_output message contains an invalid token: <|fim_suffix|>.",
    ),
    "a null": (
        {**row(), "preferred_output": None},
        "Example 1: preferred_output is null.",
    ),
}


@pytest.mark.parametrize("good", RIGHT.values(), ids=RIGHT)
def test_valid_row(good: dict[str, Any]) -> None:
    report = validate(good)
    assert (report.format, report.status_details()) == ("preference", None)


@pytest.mark.parametrize(("bad", "words"), WRONG.values(), ids=WRONG)
def test_invalid_row(bad: Any, words: str) -> None:
    report = validate(bad)
    assert (report.status_details() or "").startswith(f"Invalid file format. {words}")
    assert report.code == "invalid_file_format" or "Discriminator" in words
    assert report.errors[0].line == 1


@pytest.mark.parametrize("later", ["a string", {"messages": [USER, GOOD]}, [], 7])
def test_mixed_formats_are_rejected(later: Any) -> None:
    report = validate(row(), later)
    assert report.error_count == 1
    assert report.errors[0].line == 2


def test_equal_outputs_and_duplicates_are_noted_but_valid() -> None:
    report = validate(row(), row(non_preferred_output=[GOOD]), row())
    assert report.status_details() is None
    assert report.summary is not None
    assert report.summary.duplicates == 1
    assert "both outputs are the same" in report.summary.notes[1]


def test_conversion(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(RIGHT["tools"]) + "\n" + json.dumps(RIGHT["the older names"]))
    with_tools, older = iter_examples(path, {FormatName.PREFERENCE: preference.to_example})
    assert with_tools.tools == (TOOL,)
    assert with_tools.messages[0].to_wire() == USER
    assert with_tools.chosen.tool_calls[0]["id"] == "c1"
    assert (older.chosen.content, older.rejected.content) == (
        GOOD["content"],
        BAD["content"],
    )
    with pytest.raises(InvalidTrainingFile, match="is in the preference format, not chat"):
        next(iter_examples(path, {FormatName.CHAT: chat.to_example}))


@pytest.mark.parametrize("extra", [{}, {"name": "ann"}], ids=["fast", "slow"])
def test_a52_an_input_has_at_most_2048_messages(extra: dict[str, str]) -> None:
    messages = [{**USER, **extra}] * 2049
    assert validate(row(input={"messages": messages[:2048]})).error_count == 0
    (error,) = validate(row(input={"messages": messages})).errors
    assert "has 2049 messages" in error.reason
