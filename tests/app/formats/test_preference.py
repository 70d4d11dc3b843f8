"""Preferences: which rows are, what is said of those that are not, and how they are read."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.formats import (
    DatasetValidator,
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
    asked = {"messages": [USER]}
    values = {"input": asked, "preferred_output": [GOOD], "non_preferred_output": [BAD]}
    return {key: value for key, value in (values | changes).items() if value is not None}


def validate(*rows: Any) -> ValidationReport:
    judge = DatasetValidator()
    judge.feed(b"\n".join(json.dumps(row).encode() for row in rows))
    return judge.finish()


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
# What is wrong, and how the verdict on it begins behind "Invalid file format. ".
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
    "a tool that is none": (
        row(input={"messages": [USER], "tools": [{}]}),
        "Example 1: tool 1 is no function tool.",
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
def test_good_rows_are_taken(good: dict[str, Any]) -> None:
    verdict = validate(good)
    assert (verdict.format, verdict.status_details()) == ("preference", None)


@pytest.mark.parametrize(("bad", "words"), WRONG.values(), ids=WRONG)
def test_bad_rows_are_refused_in_a_sentence(bad: Any, words: str) -> None:
    verdict = validate(bad)
    assert (verdict.status_details() or "").startswith(f"Invalid file format. {words}")
    assert verdict.code == "invalid_file_format" or "Discriminator" in words
    assert verdict.errors[0].line == 1


@pytest.mark.parametrize("later", ["a string", {"messages": [USER, GOOD]}, [], 7])
def test_one_file_is_of_one_format(later: Any) -> None:
    verdict = validate(row(), later)
    assert verdict.error_count == 1
    assert verdict.errors[0].line == 2


def test_equal_outputs_and_repeated_rows_are_noted_and_not_refused() -> None:
    verdict = validate(row(), row(non_preferred_output=[GOOD]), row())
    assert verdict.status_details() is None
    assert verdict.summary is not None
    assert verdict.summary.duplicates == 1
    assert "the outputs are the same" in verdict.summary.notes[1]


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(RIGHT["tools"]) + "\n" + json.dumps(RIGHT["the older names"]))
    with_tools, older = iter_examples(path, {"preference": preference.to_example})
    assert with_tools.tools == (TOOL,)
    assert with_tools.messages[0].to_wire() == USER
    assert with_tools.chosen.tool_calls[0]["id"] == "c1"
    assert (older.chosen.content, older.rejected.content) == (
        GOOD["content"],
        BAD["content"],
    )
    with pytest.raises(InvalidTrainingFile, match="is in the preference format, not chat"):
        next(iter_examples(path, {"chat": chat.to_example}))
