"""Preferences: one input and two outputs, `{"input", "preferred_output", "non_preferred_output"}`.

A model learns to give the preferred output rather than the other. OpenAI's first published schema
called the outputs `preferred_completion` and `non_preferred_completion`; both are read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.formats.chat import Message, as_messages
from app.formats.chat_rules import check_answers, check_message
from app.formats.content import FORBIDDEN_START
from app.formats.errors import Flaw, kind, refuse_extra
from app.formats.format import Facts, Format
from app.formats.tools import check_offers

PREFERRED = ("preferred_output", "preferred_completion")
NON_PREFERRED = ("non_preferred_output", "non_preferred_completion")
ROW_KEYS = ("input", *PREFERRED, *NON_PREFERRED)
INPUT_KEYS = ("messages", "tools", "parallel_tool_calls")
SHAPE = (
    'Write it as {"input": {"messages": [{"role": "user", "content": "…"}]}, "preferred_output": '
    '[{"role": "assistant", "content": "…"}], "non_preferred_output": [{"role": "assistant", …}]}.'
)
PLAIN_ROLES = ("user", "system")


@dataclass(frozen=True, slots=True)
class PreferenceExample:
    """What was said, and the two ways in which the assistant could go on."""

    messages: tuple[Message, ...]
    preferred: Message
    non_preferred: Message
    tools: tuple[dict[str, Any], ...] = ()


def example(row: Mapping[str, Any]) -> PreferenceExample:
    """A checked row as an example."""
    asked = row["input"]
    (preferred,) = as_messages(row[_key(row, PREFERRED)])
    (non_preferred,) = as_messages(row[_key(row, NON_PREFERRED)])
    return PreferenceExample(
        as_messages(asked["messages"]), preferred, non_preferred, tuple(asked.get("tools") or ())
    )


def check(row: Any) -> None:
    """Raises Flaw unless `row` is a preference."""
    if not isinstance(row, dict):
        raise Flaw(f" is {kind(row)}, not an object", SHAPE, code="invalid_training_file")
    if "input" not in row:
        raise Flaw(" is missing key 'input'", SHAPE)
    outputs = [_key(row, names) for names in (PREFERRED, NON_PREFERRED)]
    refuse_extra(row, ROW_KEYS, "An example")
    _check_input(row["input"])
    for key in outputs:
        _check_output(row[key], key)
    for key in outputs:
        check_answers([*row["input"]["messages"], *row[key]])


def facts(row: Mapping[str, Any]) -> Facts:
    """See Format. The same input with other outputs is no contradiction but more to learn from."""
    preferred, other = row[_key(row, PREFERRED)], row[_key(row, NON_PREFERRED)]
    alike = "the outputs are the same, so that nothing is to be learned"
    return Facts(
        question=orjson.dumps(row["input"]).decode(),
        answer=orjson.dumps([preferred, other]).decode(),
        labels=(),
        remark=alike if preferred == other else None,
        conflicts=False,
    )


def plain(row: Any) -> int:
    """See Format. Plain is an input of messages alone, all with a role and a text alone."""
    try:
        messages = row["input"]["messages"]
        outputs = (row["preferred_output"], row["non_preferred_output"])
        if len(row) != 3 or len(row["input"]) != 1 or not messages:
            return 0
        if not all(_is_plain(message, PLAIN_ROLES) for message in messages):
            return 0
        for output in outputs:
            if len(output) != 1 or not _is_plain(output[0], ("assistant",)):
                return 0
        return 4 + 4 * (len(messages) + len(outputs))
    except (KeyError, TypeError):
        return 0  # `check` finds out what it is instead, and says so


def _is_plain(message: Any, roles: Sequence[str]) -> bool:
    content = message["content"]
    return (
        message["role"] in roles
        and type(content) is str
        and len(message) == 2
        and FORBIDDEN_START not in content
    )


def _key(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """Which of the names the row has. Raises Flaw if it has none, or both."""
    there = [name for name in names if name in row]
    if not there:
        raise Flaw(f" is missing key '{names[0]}'", SHAPE)
    if len(there) > 1:
        raise Flaw(f" has both {there[0]} and {there[1]}", f"Keep {there[0]}.")
    return there[0]


def _check_input(asked: Any) -> None:
    if not isinstance(asked, dict):
        raise Flaw(f": input is {kind(asked)}, not an object", SHAPE)
    if "messages" not in asked:
        raise Flaw(": input is missing key 'messages'", SHAPE)
    refuse_extra(asked, INPUT_KEYS, "An input")
    messages = asked["messages"]
    if not isinstance(messages, list) or not messages:
        what = "an empty list" if messages == [] else kind(messages)
        raise Flaw(f": the input's messages is {what}", SHAPE)
    for number, message in enumerate(messages, start=1):
        check_message(message, number)
    if messages[-1]["role"] == "assistant":
        raise Flaw(
            ": the input ends with a message from the assistant",
            "End it with what the assistant is to answer; the outputs are the two answers.",
        )
    check_offers(asked)


def _check_output(output: Any, key: str) -> None:
    if not isinstance(output, list) or len(output) != 1:
        what = f"a list of {len(output)}" if isinstance(output, list) else kind(output)
        raise Flaw(f": {key} is {what}", "Write a list with one message from the assistant.")
    try:
        check_message(output[0], 1)
    except Flaw as flaw:
        raise Flaw(f", {key}{flaw.text}", flaw.hint, code=flaw.code) from flaw
    if output[0]["role"] != "assistant":
        raise Flaw(
            f": {key} is from the {output[0]['role']}",
            "Give it the role 'assistant': it is learned.",
        )
    if output[0].get("weight") is not None:
        raise Flaw(f', {key} contains an extra "weight"', "Both outputs are always learned from.")


FORMAT = Format(
    name="preference",
    claims=lambda row: any(key in row for key in ROW_KEYS),
    check=check,
    plain=plain,
    facts=facts,
)
