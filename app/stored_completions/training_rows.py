"""Rows of training files from stored completions, made in the CPU pool.

A row has the request's messages, tools and response format, and the answer. Earlier answers in the
messages get weight 0: each was an answer of its own, and may be stored as one. What a request has
beyond that, such as its temperature, is of no meaning to training.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import orjson

from app.formats import chat, preference
from app.formats.chat_rules import ALLOWED_KEYS, check_message, meaningful_keys
from app.formats.errors import InvalidExample
from app.formats.tools import check_called_functions

# The tools of a request; those of the legacy form are offered as `functions`.
TOOL_KEYS = ("tools", "functions", "parallel_tool_calls")
CALL_KEYS = ("id", "type", "function")
# Answers that were cut off teach to stop in the middle of a sentence.
CUT_OFF = ("length", "content_filter")
MAX_NAMED_SKIPPED = 10


class FeedbackFilter(StrEnum):
    """Completions by the feedback on them: rated good, corrected, or corrected and as a preference
    of the correction over the answer."""

    GOOD = "good"
    CORRECTED = "corrected"
    PREFERENCE = "preference"


class RowKind(StrEnum):
    """Kinds of rows: a chat, or a preference of the correction over the answer."""

    CHAT = "chat"
    PREFERENCE = "preference"


class UnusableCompletion(Exception):
    """A completion is no example; the message is the reason, as a sentence."""


def make_rows(payload: bytes) -> bytes:
    """A task of the CPU pool: `{"kind", "completions": [{"id", "request", "response",
    "correction"}]}` to a line with what was skipped, and the lines of a training file."""
    task = orjson.loads(payload)
    lines: list[bytes] = []
    skipped: list[dict[str, str]] = []
    ids: list[str] = []
    for completion in task["completions"]:
        try:
            lines.append(orjson.dumps(make_row(RowKind(task["kind"]), completion)))
            ids.append(completion["id"])
        except UnusableCompletion as error:
            skipped.append({"id": completion["id"], "reason": str(error)})
    head = {"ids": ids, "skipped": len(skipped), "first": skipped[:MAX_NAMED_SKIPPED]}
    return b"\n".join([orjson.dumps(head), *lines])


def make_row(kind: RowKind, completion: Mapping[str, Any]) -> dict[str, Any]:
    """Make the row of a completion. Raises UnusableCompletion."""
    try:
        if kind == RowKind.PREFERENCE:
            return _make_preference(completion)
        return _make_chat(completion)
    except InvalidExample as error:
        where = "" if error.message_number is None else f", message {error.message_number}"
        raise UnusableCompletion(f"The example{where}{error.text}. {error.hint}") from error


def _make_chat(completion: Mapping[str, Any]) -> dict[str, Any]:
    request = completion["request"]
    correction = _read_correction(completion)
    answer = correction or _read_answer(completion["response"])
    row = {"messages": [*_read_messages(request), answer], **_read_options(request)}
    chat.FORMAT.check(row)
    return row


def _make_preference(completion: Mapping[str, Any]) -> dict[str, Any]:
    request = completion["request"]
    messages = _read_messages(request, has_weights=False)
    row = {
        "input": {"messages": messages, **_read_options(request)},
        "preferred_output": [_read_correction(completion)],
        "non_preferred_output": [_read_answer(completion["response"], may_be_cut_off=True)],
    }
    preference.FORMAT.check(row)
    return row


def _read_correction(completion: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The correction, checked again: previous versions stored what `check_correction` refuses."""
    correction: Mapping[str, Any] | None = completion["correction"]
    if correction is None:
        return None
    try:
        check_correction(completion["request"], correction)
    except InvalidExample as error:
        raise UnusableCompletion(f"The correction{error.text}. {error.hint}") from error
    return correction


def check_correction(request: Mapping[str, Any], message: Mapping[str, Any]) -> None:
    """Raise InvalidExample unless a training file may have this answer to the request.

    A request names all functions: those that its prompt does not offer cannot be called.
    """
    check_message(message, 1)
    if _is_empty(message):
        raise InvalidExample(
            " is empty", "Give the text that should have been the answer, or calls of tools."
        )
    check_called_functions(_read_options(request), [message], are_complete=True)


def _read_answer(response: Mapping[str, Any], *, may_be_cut_off: bool = False) -> dict[str, Any]:
    """The first choice, as a message of a training file."""
    choice = response["choices"][0]
    if choice.get("finish_reason") in CUT_OFF and not may_be_cut_off:
        raise UnusableCompletion(f"The answer was cut off ({choice['finish_reason']}).")
    answer = _read_message({**choice["message"], "role": "assistant"})
    if _is_empty(answer):
        raise UnusableCompletion("The answer is empty.")
    return answer


def _is_empty(message: Mapping[str, Any]) -> bool:
    """True for a message that has nothing but its role, or white space."""
    return not any(_says_something(value) for key, value in message.items() if key != "role")


def _says_something(value: Any) -> bool:
    return bool(value.strip() if isinstance(value, str) else value)


def _read_messages(request: Mapping[str, Any], *, has_weights: bool = True) -> list[dict[str, Any]]:
    messages = [_read_message(message) for message in request["messages"]]
    for message in messages if has_weights else ():
        if message["role"] == "assistant":
            message["weight"] = 0
    return messages


def _read_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with the keys that training files have, which are those that are rendered."""
    said = set(meaningful_keys(message))
    # An engine may add keys, and so may a client that sends an answer again.
    row = {key: message[key] for key in ALLOWED_KEYS[message["role"]] if key in said}
    if isinstance(row.get("tool_calls"), list):
        row["tool_calls"] = [_read_call(call) for call in row["tool_calls"]]
    if row.get("content") == "" and said & {"tool_calls", "function_call"}:
        del row["content"]
    return row


def _read_call(call: Any) -> Any:
    return {key: call[key] for key in CALL_KEYS if key in call} if isinstance(call, dict) else call


def _read_options(request: Mapping[str, Any]) -> dict[str, Any]:
    """The response format, and the tools that the prompt had: none if it was to call none."""
    is_without_tools = "none" in (request.get("tool_choice"), request.get("function_call"))
    keys = ("response_format", *(() if is_without_tools else TOOL_KEYS))
    return {key: request[key] for key in keys if request.get(key) is not None}
