"""Order of calls and their results in the messages of a chat, as OpenAI requires it."""

from collections.abc import Sequence
from typing import Any, Protocol

from app.wire.refusals import refusal


class ChatTurn(Protocol):
    role: Any
    tool_calls: list[dict[str, Any]] | None
    tool_call_id: str | None


def check_tool_results(messages: Sequence[ChatTurn]) -> None:
    """Raise PydanticCustomError unless the calls of a message are all answered right after it."""
    pending: list[str] = []
    for number, message in enumerate(messages):
        if message.role == "tool":
            _take_answered(message, number, pending)
            continue
        _check_answered(pending, number)
        pending = [call["id"] for call in message.tool_calls or () if _has_id(call)]
    _check_answered(pending, len(messages))


def _has_id(call: dict[str, Any]) -> bool:
    return isinstance(call.get("id"), str)


def _take_answered(message: ChatTurn, number: int, pending: list[str]) -> None:
    if message.tool_call_id is None:
        param = f"messages[{number}].tool_call_id"
        sentence = f"Missing required parameter: '{param}'."
        raise refusal(sentence, param=param, code="missing_required_parameter")
    if message.tool_call_id not in pending:
        raise refusal(
            "Invalid parameter: messages with role 'tool' must be a response to a preceding "
            "message with 'tool_calls', and have its 'tool_call_id'.",
            param=f"messages[{number}].role",
        )
    pending.remove(message.tool_call_id)


def _check_answered(pending: Sequence[str], number: int) -> None:
    if pending:
        ids = ", ".join(id[:64] for id in pending[:8])
        raise refusal(
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{ids}",
            param=f"messages[{number}].role",
        )
