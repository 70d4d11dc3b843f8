"""Validation rules of the chat format. Messages are OpenAI's own where they are known."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from app.formats.content import check_content, reject_control_tokens
from app.formats.errors import (
    ErrorCode,
    InvalidExample,
    escape_for_message,
    json_type_name,
    reject_unknown_keys_of,
)
from app.formats.response_format import check_response_format
from app.formats.tools import (
    check_called_functions,
    check_function_call,
    check_tool_calls,
    check_tool_definitions,
)

ROW_KEYS = ("messages", "tools", "parallel_tool_calls", "functions", "response_format")
SHAPE_HINT = (
    'Write it as {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", …}]}.'
)
# Keys that a message of each role may have, and keys that it must have.
ALLOWED_KEYS: Mapping[str, tuple[str, ...]] = {
    "system": ("role", "content", "name"),
    "developer": ("role", "content", "name"),
    "user": ("role", "content", "name"),
    "assistant": (
        "role",
        "content",
        "name",
        "weight",
        "tool_calls",
        "function_call",
        "refusal",
        "reasoning_content",
    ),
    "tool": ("role", "content", "tool_call_id", "name"),
    "function": ("role", "content", "name"),
}
REQUIRED_KEYS: Mapping[str, tuple[str, ...]] = {
    "assistant": (),
    "tool": ("content", "tool_call_id"),
    "function": ("content", "name"),
}
# An assistant's message must have at least one of these.
ASSISTANT_CONTENT_KEYS = ("content", "tool_calls", "function_call", "refusal")
# The legacy form allows one call at a time, so its calls have no ids.
FUNCTION_CALL_ID = "function_call"
# Rendering costs time for each message; more than any conversation needs.
MAX_MESSAGES = 2_048
ROLE_NAMES = ", ".join(f"'{role}'" for role in ALLOWED_KEYS)


def check(row: Any) -> None:
    """Raise InvalidExample unless `row` is a chat."""
    if not isinstance(row, dict):
        raise InvalidExample(
            f" is {json_type_name(row)}, not an object",
            SHAPE_HINT,
            code=ErrorCode.INVALID_TRAINING_FILE,
        )
    if "messages" not in row:
        raise InvalidExample(" is missing key 'messages'", SHAPE_HINT)
    messages = row["messages"]
    _reject_unknown_keys(row, messages)
    if not isinstance(messages, list) or not messages:
        actual = "an empty list" if messages == [] else json_type_name(messages)
        raise InvalidExample(
            f": messages is {actual}", SHAPE_HINT, code=ErrorCode.INVALID_TRAINING_FILE
        )
    check_number_of_messages(messages)
    for number, message in enumerate(messages, start=1):
        check_message(message, number)
    _check_last_message(messages)
    check_tool_results(messages)
    check_tool_definitions(row)
    check_called_functions(row, messages)
    check_response_format(row)


def _reject_unknown_keys(row: Mapping[str, Any], messages: Any) -> None:
    """Raise InvalidExample for the unknown keys of a row and its messages, all at once."""
    objects: list[tuple[Iterable[str], Sequence[str], str]] = [
        (meaningful_keys(row), ROW_KEYS, "An example")
    ]
    for number, message in enumerate(messages if isinstance(messages, list) else (), start=1):
        role = message.get("role") if isinstance(message, dict) else None
        if isinstance(role, str) and role in ALLOWED_KEYS:
            objects.append(_keys_of_message(message, number, role))
    reject_unknown_keys_of(objects)


def _keys_of_message(
    message: Mapping[str, Any], number: int, role: str
) -> tuple[Iterable[str], Sequence[str], str]:
    return meaningful_keys(message), ALLOWED_KEYS[role], f"Message {number} (role {role})"


def meaningful_keys(value: Mapping[str, Any]) -> list[str]:
    """List the keys that say something: null or an empty list is the same as leaving them out.

    OpenAI's SDK writes such keys when a message of a response is dumped.
    """
    return [key for key, item in value.items() if item is not None and item != []]


def check_number_of_messages(messages: Sequence[Any]) -> None:
    """Raise InvalidExample if an example has more messages than can be rendered."""
    if len(messages) > MAX_MESSAGES:
        raise InvalidExample(
            f" has {len(messages)} messages", f"Split it into examples of at most {MAX_MESSAGES}."
        )


def check_message(message: Any, number: int) -> None:
    """Raise InvalidExample unless `message` is valid on its own; `number` counts from 1."""
    role = _get_role(message, number)
    reject_unknown_keys_of([_keys_of_message(message, number, role)])
    for key in REQUIRED_KEYS.get(role, ("content",)):
        if message.get(key) is None:
            raise InvalidExample(f" is missing {key}", f"Give it a {key}.", message_number=number)
    said = meaningful_keys(message)
    is_silent = all(key not in said for key in ASSISTANT_CONTENT_KEYS)
    if role == "assistant" and is_silent and message.get("content") != []:
        raise InvalidExample(
            " is missing content", "Give it a content or tool_calls.", message_number=number
        )
    if "tool_calls" in said and "function_call" in said:
        raise InvalidExample(
            " has tool_calls and a function_call", "Keep tool_calls.", message_number=number
        )
    for key in FIELD_CHECKS:
        # An empty list is no content.
        if key in said or (key == "content" and message.get(key) == []):
            FIELD_CHECKS[key](message[key], number)


def _get_role(message: Any, number: int) -> str:
    if not isinstance(message, dict):
        raise InvalidExample(
            f" is {json_type_name(message)}, not an object",
            SHAPE_HINT,
            message_number=number,
            code=ErrorCode.INVALID_TRAINING_FILE,
        )
    if "role" not in message:
        raise InvalidExample(
            " Discriminator 'role' is missing in value",
            f"Give it one of the roles {ROLE_NAMES}.",
            message_number=number,
            code=ErrorCode.INVALID_TRAINING_FILE,
        )
    role = message["role"]
    if not isinstance(role, str) or role not in ALLOWED_KEYS:
        found = f"'{escape_for_message(role)}'" if isinstance(role, str) else json_type_name(role)
        raise InvalidExample(
            f": role is {found}",
            f"Give it one of the roles {ROLE_NAMES}.",
            message_number=number,
            code=ErrorCode.INVALID_TRAINING_FILE,
        )
    return role


def _check_last_message(messages: Sequence[Mapping[str, Any]]) -> None:
    last = messages[-1]
    if all(message["role"] != "assistant" for message in messages):
        raise InvalidExample(
            " has no message from the assistant",
            "The last message must be the assistant's answer to train on.",
        )
    if last["role"] != "assistant":
        raise InvalidExample(
            f" ends with a message from the {last['role']}",
            "The last message must be the assistant's answer to train on.",
        )
    if last.get("weight") == 0:
        raise InvalidExample(
            " ends with a message of weight 0", "Give the last message weight 1, or no weight."
        )


def check_tool_results(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raise InvalidExample unless tool results directly follow the calls that they answer.

    All calls of one message must be answered before the next message of another role. Calls at the
    very end of the chat need no answers.
    """
    pending: set[str] = set()
    for number, message in enumerate(messages, start=1):
        answered = _answered_call_id(message)
        if answered is None and pending:
            raise InvalidExample(
                f" comes before the tool call '{escape_for_message(min(pending))}' is answered",
                "Put a message with the role 'tool' and that tool_call_id before it.",
                message_number=number,
            )
        if answered is None:
            pending = _call_ids(message)
        elif answered in pending:
            pending.remove(answered)
        else:
            raise InvalidExample(
                f": no unanswered tool call has the id '{escape_for_message(answered)}'",
                "Each tool message must answer a tool call of the assistant message before it.",
                message_number=number,
            )


def _answered_call_id(message: Mapping[str, Any]) -> str | None:
    """The id of the call that this message answers; None if it is not a tool result."""
    if message["role"] == "function":
        return FUNCTION_CALL_ID
    id: str | None = message.get("tool_call_id")
    return id


def _call_ids(message: Mapping[str, Any]) -> set[str]:
    if message.get("function_call"):
        return {FUNCTION_CALL_ID}
    return {call["id"] for call in message.get("tool_calls") or ()}


def _skip_role(_role: Any, _number: int) -> None:
    """Do nothing: `_get_role` has checked it before all other fields."""


def _check_name(name: Any, number: int) -> None:
    if not isinstance(name, str):
        raise InvalidExample(
            f": name is {json_type_name(name)}", "Write a string.", message_number=number
        )
    reject_control_tokens(name)


def _check_weight(weight: Any, number: int) -> None:
    # True == 1 in Python, not in JSON.
    if type(weight) is not int or weight not in (0, 1):
        raise InvalidExample(
            ": weight is neither 0 nor 1",
            "Write 0 or 1, or leave it out.",
            message_number=number,
        )


def _check_refusal(refusal: Any, number: int) -> None:
    if not isinstance(refusal, str):
        raise InvalidExample(
            f": refusal is {json_type_name(refusal)}", "Write a string.", message_number=number
        )
    reject_control_tokens(refusal)


def _check_reasoning(reasoning: Any, number: int) -> None:
    if not isinstance(reasoning, str):
        raise InvalidExample(
            f": reasoning_content is {json_type_name(reasoning)}",
            "Write a string.",
            message_number=number,
        )
    reject_control_tokens(reasoning)


def _check_tool_call_id(id: Any, number: int) -> None:
    if not isinstance(id, str):
        raise InvalidExample(
            f": tool_call_id is {json_type_name(id)}", "Write a string.", message_number=number
        )


FIELD_CHECKS: Mapping[str, Callable[[Any, int], None]] = {
    "role": _skip_role,
    "content": check_content,
    "name": _check_name,
    "weight": _check_weight,
    "refusal": _check_refusal,
    "reasoning_content": _check_reasoning,
    "tool_calls": check_tool_calls,
    "function_call": check_function_call,
    "tool_call_id": _check_tool_call_id,
}
