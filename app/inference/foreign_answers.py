"""Answers of other engines in the form of OpenAI's API: names, fields and errors."""

import re
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from typing import Any

import httpx
import orjson

from app import logs
from app.errors import ApiError, InvalidRequest
from app.inference.dialects import read_reason
from app.inference.engine_errors import EngineUnavailable

log = logs.get_logger(__name__)

# Fields of OpenAI's API; engines have others of their own, which clients do not expect.
TOP_FIELDS = {
    *("id", "object", "created", "model", "choices", "usage", "system_fingerprint"),
    # Of embeddings.
    "data",
}
CHOICE_FIELDS = {"index", "message", "delta", "text", "logprobs", "finish_reason"}
MESSAGE_FIELDS = {
    *("role", "content", "refusal", "tool_calls", "function_call", "reasoning_content"),
}
# A line of an event stream that is longer is no event of an engine.
MAX_EVENT_BYTES = 16 * 2**20


def translate_answer(body: bytes, *, name: str) -> bytes:
    """An answer under the model's own name. Raises EngineUnavailable if it is not one."""
    try:
        document = orjson.loads(body)
        if not isinstance(document, dict):
            raise ValueError("an answer must be an object")
        return orjson.dumps(_translate(document, name))
    except ValueError as error:
        log.error("engine.unreadable", model=name, reason=str(error))
        raise EngineUnavailable from error


def translate_error(status: int, body: bytes, *, names: dict[str, str]) -> ApiError:
    """The error of an engine's response; `names` are ours for the engine's names of models."""
    reason = read_reason(body)
    if not 400 <= status < 500 or status in (401, 403, 404, 408, 429) or not reason:
        log.error("engine.failed", status=status, reason=reason[:500])
        return EngineUnavailable()
    for at_engine, ours in names.items():
        reason = _replace_name(reason, at_engine, ours)
    is_too_long = "context length" in reason or "longer than the model" in reason
    code = "context_length_exceeded" if is_too_long else "invalid_value"
    return InvalidRequest(reason, param=_find_param(body), code=code)


def _replace_name(text: str, name: str, ours: str) -> str:
    """Replace a model's name, but not where it is a part of a word or of another name."""
    return re.sub(rf"(?<![\w./-]){re.escape(name)}(?![\w/-]|[.:]\w)", lambda _: ours, text)


async def translate_events(
    chunks: AsyncIterator[bytes], *, name: str, names: dict[str, str]
) -> AsyncIterator[bytes]:
    """A stream's events under the model's own name, each as soon as it is complete."""
    pending = b""
    async for chunk in chunks:
        *lines, pending = (pending + chunk).split(b"\n")
        if len(pending) > MAX_EVENT_BYTES:
            raise httpx.RemoteProtocolError("the engine sends an event without an end")
        translated = [_translate_line(line, name, names) for line in lines]
        if translated:
            yield b"".join(translated)
    if pending:
        yield _translate_line(pending, name, names)


def _translate_line(line: bytes, name: str, names: dict[str, str]) -> bytes:
    data = line.removeprefix(b"data:").strip()
    if not line.startswith(b"data:") or not data.startswith(b"{"):
        return line.rstrip(b"\r") + b"\n"
    try:
        event = orjson.loads(data)
        if event.get("error") is not None or event.get("object") == "error":
            error = translate_error(_status_of(event), data, names=names)
            return b"data: " + orjson.dumps(error.body()) + b"\n"
        return b"data: " + orjson.dumps(_translate(event, name)) + b"\n"
    except ValueError as error:
        # Clients could not read it either.
        log.error("engine.unreadable", model=name, reason=str(error))
        return b"data: " + orjson.dumps(EngineUnavailable().body()) + b"\n"


def _translate(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Translate an answer or an event. Raises ValueError if its choices are not choices."""
    _keep(document, TOP_FIELDS)
    if "model" in document:
        document["model"] = name
    # OpenAI's has no null in these.
    if str(document.get("object")).startswith("chat.completion"):
        # What the request was served with, whatever the engine calls it.
        document["service_tier"] = "default"
    for field in ("usage", "system_fingerprint"):
        if document.get(field, "") is None and document.get("object") != "chat.completion.chunk":
            document.pop(field)
    choices = document.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(each, dict) for each in choices):
        raise ValueError("choices must be a list of objects")
    for choice in choices:
        _translate_choice(choice)
    return document


def _translate_choice(choice: dict[str, Any]) -> None:
    message = choice.get("message")
    delta = choice.get("delta")
    _keep(choice, CHOICE_FIELDS)
    for part in (message, delta):
        if isinstance(part, dict):
            _translate_message(part)
    if isinstance(message, dict):
        message.setdefault("refusal", None)
        message["annotations"] = []
        choice.setdefault("logprobs", None)


def _translate_message(message: dict[str, Any]) -> None:
    """vLLM has reasoning in `reasoning`, and empty fields where OpenAI's API has none."""
    reasoning = message.pop("reasoning", None)
    if reasoning is not None and not message.get("reasoning_content"):
        message["reasoning_content"] = reasoning
    _keep(message, MESSAGE_FIELDS)
    for field in ("tool_calls", "function_call", "reasoning_content"):
        if field in message and not message[field]:
            message.pop(field)


def _keep(fields: dict[str, Any], known: Collection[str]) -> None:
    for field in fields.keys() - known:
        del fields[field]


def _status_of(event: dict[str, Any]) -> int:
    error = event["error"] if isinstance(event.get("error"), dict) else event
    code = error.get("code")
    return code if isinstance(code, int) else 500


def _find_param(body: bytes) -> str | None:
    with suppress(ValueError):
        document = orjson.loads(body)
        error = document.get("error") if isinstance(document, dict) else None
        param = (error if isinstance(error, dict) else document).get("param")
        return param if isinstance(param, str) else None
    return None
