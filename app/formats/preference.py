"""Preference format (DPO): `{"input", "preferred_output", "non_preferred_output"}`.

The model learns to prefer the chosen output over the rejected one. OpenAI's first published schema
called the outputs `preferred_completion` and `non_preferred_completion`; both names are accepted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.formats.chat import Message, to_messages
from app.formats.chat_rules import (
    MAX_MESSAGES,
    check_message,
    check_number_of_messages,
    check_tool_results,
)
from app.formats.content import FORBIDDEN_PREFIX
from app.formats.errors import ErrorCode, InvalidExample, json_type_name, reject_unknown_keys
from app.formats.format import ExampleFacts, Format, FormatName
from app.formats.response_format import check_response_format
from app.formats.tools import check_called_functions, check_tool_definitions

PREFERRED_KEYS = ("preferred_output", "preferred_completion")
NON_PREFERRED_KEYS = ("non_preferred_output", "non_preferred_completion")
ROW_KEYS = ("input", *PREFERRED_KEYS, *NON_PREFERRED_KEYS)
INPUT_KEYS = ("messages", "tools", "parallel_tool_calls", "response_format")
SHAPE_HINT = (
    'Write it as {"input": {"messages": [{"role": "user", "content": "…"}]}, "preferred_output": '
    '[{"role": "assistant", "content": "…"}], "non_preferred_output": [{"role": "assistant", …}]}.'
)
FAST_PATH_ROLES = ("user", "system")


@dataclass(frozen=True, slots=True)
class PreferenceExample:
    """A chat and two alternative answers of the assistant."""

    messages: tuple[Message, ...]
    chosen: Message
    rejected: Message
    tools: tuple[dict[str, Any], ...] = ()


def to_example(row: Mapping[str, Any]) -> PreferenceExample:
    """Convert a checked row."""
    input = row["input"]
    (chosen,) = to_messages(row[_find_key(row, PREFERRED_KEYS)])
    (rejected,) = to_messages(row[_find_key(row, NON_PREFERRED_KEYS)])
    return PreferenceExample(
        to_messages(input["messages"]), chosen, rejected, tuple(input.get("tools") or ())
    )


def check(row: Any) -> None:
    """Raise InvalidExample unless `row` is a preference."""
    if not isinstance(row, dict):
        raise InvalidExample(
            f" is {json_type_name(row)}, not an object",
            SHAPE_HINT,
            code=ErrorCode.INVALID_TRAINING_FILE,
        )
    if "input" not in row:
        raise InvalidExample(" is missing key 'input'", SHAPE_HINT)
    output_keys = [_find_key(row, names) for names in (PREFERRED_KEYS, NON_PREFERRED_KEYS)]
    reject_unknown_keys(row, ROW_KEYS, "An example")
    _check_input(row["input"])
    for key in output_keys:
        _check_output(row[key], key)
    for key in output_keys:
        messages = [*row["input"]["messages"], *row[key]]
        check_tool_results(messages)
        check_called_functions(row["input"], messages)


def extract_facts(row: Mapping[str, Any]) -> ExampleFacts:
    """See Format. The same input with other outputs is another preference, not a contradiction."""
    chosen = row[_find_key(row, PREFERRED_KEYS)]
    rejected = row[_find_key(row, NON_PREFERRED_KEYS)]
    warning = "both outputs are the same, which teaches nothing"
    return ExampleFacts(
        input=orjson.dumps(row["input"]).decode(),
        target=orjson.dumps([chosen, rejected]).decode(),
        labels=(),
        warning=warning if chosen == rejected else None,
        can_conflict=False,
    )


def fast_check(row: Any) -> int:
    """See Format. Passes rows whose messages all have a role and a text content, and no tools."""
    try:
        messages = row["input"]["messages"]
        outputs = (row["preferred_output"], row["non_preferred_output"])
        if len(row) != 3 or len(row["input"]) != 1 or not messages:
            return 0
        if len(messages) > MAX_MESSAGES:
            return 0
        if not all(_is_simple_message(message, FAST_PATH_ROLES) for message in messages):
            return 0
        for output in outputs:
            if len(output) != 1 or not _is_simple_message(output[0], ("assistant",)):
                return 0
        return 4 + 4 * (len(messages) + len(outputs))
    except (KeyError, TypeError):
        return 0  # `check` reports the reason


def _is_simple_message(message: Any, roles: Sequence[str]) -> bool:
    content = message["content"]
    return (
        message["role"] in roles
        and type(content) is str
        and len(message) == 2
        and FORBIDDEN_PREFIX not in content
    )


def _find_key(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """Find the one of `names` that the row has. Raises InvalidExample if it has none, or both."""
    present = [name for name in names if name in row]
    if not present:
        raise InvalidExample(f" is missing key '{names[0]}'", SHAPE_HINT)
    if len(present) > 1:
        raise InvalidExample(f" has both {present[0]} and {present[1]}", f"Keep {present[0]}.")
    return present[0]


def _check_input(input: Any) -> None:
    if not isinstance(input, dict):
        raise InvalidExample(f": input is {json_type_name(input)}, not an object", SHAPE_HINT)
    if "messages" not in input:
        raise InvalidExample(": input is missing key 'messages'", SHAPE_HINT)
    reject_unknown_keys(input, INPUT_KEYS, "An input")
    messages = input["messages"]
    if not isinstance(messages, list) or not messages:
        actual = "an empty list" if messages == [] else json_type_name(messages)
        raise InvalidExample(f": the input's messages is {actual}", SHAPE_HINT)
    check_number_of_messages(messages)
    for number, message in enumerate(messages, start=1):
        check_message(message, number)
    if messages[-1]["role"] == "assistant":
        raise InvalidExample(
            ": the input ends with a message from the assistant",
            "End it with the message to answer; the outputs are the two answers.",
        )
    check_tool_definitions(input)
    check_response_format(input)


def _check_output(output: Any, key: str) -> None:
    if not isinstance(output, list) or len(output) != 1:
        actual = f"a list of {len(output)}" if isinstance(output, list) else json_type_name(output)
        raise InvalidExample(
            f": {key} is {actual}", "Write a list with one message from the assistant."
        )
    try:
        check_message(output[0], 1)
    except InvalidExample as error:
        raise InvalidExample(f", {key}{error.text}", error.hint, code=error.code) from error
    if output[0]["role"] != "assistant":
        raise InvalidExample(
            f": {key} is from the {output[0]['role']}", "Give it the role 'assistant'."
        )
    if output[0].get("weight") is not None:
        raise InvalidExample(
            f', {key} contains an extra "weight"',
            "Remove it: both outputs are always trained on.",
        )


FORMAT = Format(
    name=FormatName.PREFERENCE,
    matches=lambda row: any(key in row for key in ROW_KEYS),
    check=check,
    fast_check=fast_check,
    extract_facts=extract_facts,
)
