"""Requests for a response as chat requests, and the engine's errors in the words of the former."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from app.errors import InvalidRequest
from app.responses.chat_messages import to_messages
from app.responses.schemas import CreateResponse, JsonSchemaFormat, ResponseContext
from app.responses.tools import choice_to_chat
from app.wire.items import ItemDict

# Names of fields of a chat request, with what follows them in a path.
CHAT_FIELDS = re.compile(
    r"\b(?:(?P<messages>messages)(?:\[\d+\])?(?:\.\w+|\[\d+\])*"
    r"|(?P<tool>tools\[\d+\])\.function"
    r"|(?P<format>response_format)(?:\.json_schema)?"
    r"|(?P<limit>max_completion_tokens|max_tokens)"
    r"|(?P<effort>reasoning_effort))\b"
)
QUOTED = re.compile(r"'([^']*)'")


def build_chat_body(
    request: CreateResponse, items: Sequence[ItemDict], model: str
) -> dict[str, Any]:
    """The engine's body, whose context are `items`. Raises InvalidRequest."""
    fields = {
        "model": model,
        "messages": to_messages(items, request.instructions),
        **_context_fields(request),
        "max_completion_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "user": request.user or request.safety_identifier,
    }
    if request.wants_logprobs:
        fields |= {"logprobs": True, "top_logprobs": request.top_logprobs or 0}
    if request.stream and not request.background:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return {name: value for name, value in fields.items() if value is not None}


def _context_fields(request: ResponseContext) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if request.tools:
        fields["tools"] = [tool.to_chat() for tool in request.tools]
        fields["parallel_tool_calls"] = request.parallel_tool_calls
    if request.tools or request.tool_choice not in (None, "auto", "none"):
        fields["tool_choice"] = choice_to_chat(request.tool_choice)
    if request.reasoning is not None:
        fields["reasoning_effort"] = request.reasoning.effort
    if request.truncation == "auto":
        fields["truncation"] = request.truncation
    if request.text is not None:
        fields["response_format"] = _to_response_format(request.text.format)
    return fields


def _to_response_format(text_format: Any) -> dict[str, Any] | None:
    if text_format is None or text_format.type == "text":
        return None
    if not isinstance(text_format, JsonSchemaFormat):
        return {"type": text_format.type}
    fields = text_format.model_dump(by_alias=True, exclude={"type"}, exclude_none=True)
    return {"type": "json_schema", "json_schema": fields}


def translate_error(body: bytes) -> bytes:
    """An engine's error of a chat request, with the fields of a response's."""
    try:
        document = orjson.loads(body)
        error = document["error"]
        error["message"] = QUOTED.sub(_rename_quoted, error["message"])
        if isinstance(error.get("param"), str):
            error["param"] = rename_field(error["param"])
    except (ValueError, LookupError, TypeError):
        return body
    return orjson.dumps(document)


def translate_refusal(error: InvalidRequest) -> InvalidRequest:
    """An error of a chat request, with the fields of a response's."""
    message = QUOTED.sub(_rename_quoted, error.message)
    param = None if error.error_param is None else rename_field(error.error_param)
    return InvalidRequest(message, param=param, code=error.error_code)


def _rename_quoted(match: re.Match[str]) -> str:
    name = match[1]
    # What is quoted may be any text, such as a function's name.
    return f"'{rename_field(name)}'" if CHAT_FIELDS.match(name) else match[0]


def rename_field(path: str) -> str:
    """The field of a response's request that became this one of a chat request."""
    return CHAT_FIELDS.sub(_rename, path, count=1)


def _rename(match: re.Match[str]) -> str:
    names: Mapping[str, str] = {
        "messages": "input",
        "format": "text.format",
        "limit": "max_output_tokens",
        "effort": "reasoning.effort",
    }
    kind = str(match.lastgroup)
    return names.get(kind) or match[kind]
