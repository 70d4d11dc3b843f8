"""What makes a row a chat that can be trained on. Texts in OpenAI's words where they are known."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.formats.content import check_content, check_text
from app.formats.errors import Flaw, kind, refuse_extra, shown
from app.formats.tools import check_function_call, check_offers, check_tool_calls

ROW_KEYS = ("messages", "tools", "parallel_tool_calls", "functions")
SHAPE = 'Write it as {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", …}]}.'
# The keys that a message of each role may have, and those that it must have.
ALLOWED: Mapping[str, tuple[str, ...]] = {
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
    ),
    "tool": ("role", "content", "tool_call_id"),
    "function": ("role", "content", "name"),
}
NEEDED: Mapping[str, tuple[str, ...]] = {
    "assistant": (),
    "tool": ("content", "tool_call_id"),
    "function": ("content", "name"),
}
# One of these is what an assistant's message says.
SAID = ("content", "tool_calls", "function_call", "refusal")
# The older form has one call at a time, so its calls have no ids.
FUNCTION_CALL_ID = "function_call"
ROLES = ", ".join(f"'{role}'" for role in ALLOWED)


def check(row: Any) -> None:
    """Raises Flaw unless `row` is a chat."""
    if not isinstance(row, dict):
        raise Flaw(f" is {kind(row)}, not an object", SHAPE, code="invalid_training_file")
    if "messages" not in row:
        raise Flaw(" is missing key 'messages'", SHAPE)
    refuse_extra(row, ROW_KEYS, "An example")
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        what = "an empty list" if messages == [] else kind(messages)
        raise Flaw(f": messages is {what}", SHAPE, code="invalid_training_file")
    for number, message in enumerate(messages, start=1):
        check_message(message, number)
    _check_last(messages)
    check_answers(messages)
    check_offers(row)


def check_message(message: Any, number: int) -> None:
    """Raises Flaw unless `message` is one; `number` is its place, from 1."""
    role = _role(message, number)
    refuse_extra(message, ALLOWED[role], f"Message {number}, from the {role},")
    for key in NEEDED.get(role, ("content",)):
        if message.get(key) is None:
            raise Flaw(f" is missing {key}", f"Give it a {key}.", message=number)
    if role == "assistant" and all(message.get(key) is None for key in SAID):
        raise Flaw(" is missing content", "Give it a content or tool_calls.", message=number)
    if message.get("tool_calls") is not None and message.get("function_call") is not None:
        raise Flaw(" has tool_calls and a function_call", "Keep tool_calls.", message=number)
    for key, value in message.items():
        # A key that says null says nothing.
        if value is not None:
            CHECKS[key](value, number)


def _role(message: Any, number: int) -> str:
    if not isinstance(message, dict):
        raise Flaw(
            f" is {kind(message)}, not an object",
            SHAPE,
            message=number,
            code="invalid_training_file",
        )
    if "role" not in message:
        raise Flaw(
            " Discriminator 'role' is missing in value",
            f"Give it one of the roles {ROLES}.",
            message=number,
            code="invalid_training_file",
        )
    role = message["role"]
    if not isinstance(role, str) or role not in ALLOWED:
        tag = shown(role) if isinstance(role, str) else kind(role)
        raise Flaw(
            f" Input tag '{tag}' found using 'role' does not match any of the expected tags:"
            f" {ROLES}",
            "Give it one of them.",
            message=number,
            code="invalid_training_file",
        )
    return role


def _check_last(messages: Sequence[Mapping[str, Any]]) -> None:
    last = messages[-1]
    if all(message["role"] != "assistant" for message in messages):
        raise Flaw(
            " has no message from the assistant", "End it with the answer that is to be learned."
        )
    if last["role"] != "assistant":
        raise Flaw(
            f" ends with a message from the {last['role']}",
            "End it with the assistant's answer that is to be learned.",
        )
    if last.get("weight") == 0:
        raise Flaw(
            " ends with a message of weight 0", "Give the last message weight 1, or no weight."
        )


def check_answers(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raises Flaw unless each tool call is answered before anyone else speaks, but for the last."""
    waiting: set[str] = set()
    for number, message in enumerate(messages, start=1):
        answered = _answered_by(message)
        if answered is None and waiting:
            raise Flaw(
                f" comes before the tool call '{shown(min(waiting))}' is answered",
                "Put a message with the role 'tool' and that tool_call_id before it.",
                message=number,
            )
        if answered is None:
            waiting = _calls_in(message)
        elif answered in waiting:
            waiting.remove(answered)
        else:
            raise Flaw(
                f": no tool call with the id '{shown(answered)}' waits for it",
                "Let each tool message answer a call of the assistant's message before it.",
                message=number,
            )


def _answered_by(message: Mapping[str, Any]) -> str | None:
    """The id of the call that this message answers, if it is an answer."""
    if message["role"] == "function":
        return FUNCTION_CALL_ID
    id: str | None = message.get("tool_call_id")
    return id


def _calls_in(message: Mapping[str, Any]) -> set[str]:
    if message.get("function_call") is not None:
        return {FUNCTION_CALL_ID}
    return {call["id"] for call in message.get("tool_calls") or ()}


def _check_role(_role: Any, _number: int) -> None:
    """Was checked first: the other rules go by it."""


def _check_name(name: Any, number: int) -> None:
    if not isinstance(name, str):
        raise Flaw(f": name is {kind(name)}", "Write a string.", message=number)
    check_text(name)


def _check_weight(weight: Any, number: int) -> None:
    # True == 1 in Python, not in JSON.
    if type(weight) is not int or weight not in (0, 1):
        raise Flaw(": weight is neither 0 nor 1", "Write 0 or 1, or leave it out.", message=number)


def _check_refusal(refusal: Any, number: int) -> None:
    if not isinstance(refusal, str):
        raise Flaw(f": refusal is {kind(refusal)}", "Write a string.", message=number)
    check_text(refusal)


def _check_tool_call_id(id: Any, number: int) -> None:
    if not isinstance(id, str):
        raise Flaw(f": tool_call_id is {kind(id)}", "Write a string.", message=number)


CHECKS: Mapping[str, Callable[[Any, int], None]] = {
    "role": _check_role,
    "content": check_content,
    "name": _check_name,
    "weight": _check_weight,
    "refusal": _check_refusal,
    "tool_calls": check_tool_calls,
    "function_call": check_function_call,
    "tool_call_id": _check_tool_call_id,
}
