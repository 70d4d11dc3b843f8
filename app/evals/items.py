"""Items of a run: read from lines, and the requests to the model that is sampled."""

import json
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import BaseModel, Field, ValidationError

from app.evals.run_schemas import RunError
from app.evals.run_sources import ItemReference, Row, Sampling
from app.graders.template import RenderedTooLong, Renderer, UnknownVariable, resolve_path
from app.http.strict_json import parse_json
from app.wire.validation_errors import to_invalid_request

# Of the messages made for one item.
MAX_RENDERED_CHARS = 256 * 1024
# Code of the error of an item that is not stored any more.
ITEM_GONE = "item_gone"


class ItemFault(Exception):
    """An item that cannot be sampled or graded; the run goes on without it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.error = RunError(code=code, message=message)


class Usage(BaseModel):
    total_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0


class Sample(BaseModel):
    """Output of a model for an item, as clients see it."""

    input: list[dict[str, str]] = Field(default_factory=list)
    output: list[dict[str, Any]] = Field(default_factory=list)
    finish_reason: str = ""
    model: str = ""
    usage: Usage = Field(default_factory=Usage)
    error: RunError = Field(default_factory=RunError)
    temperature: float = 1.0
    max_completion_tokens: int = 0
    top_p: float = 1.0
    seed: int = 42


def parse_row(line: bytes | None) -> Row:
    """Parse a line; None is one that was too long, an empty one is gone. Raises ItemFault."""
    if line == b"":
        raise ItemFault(ITEM_GONE, "This item was deleted after the run had begun.")
    if line is None:
        raise ItemFault("line_too_long", "This line of the file is too long for an item.")
    try:
        document = parse_json(line)
    except json.JSONDecodeError as error:
        raise ItemFault("invalid_json", f"This line is not valid JSON: {error.msg}.") from error
    try:
        return Row.model_validate(document)
    except ValidationError as error:
        reason = to_invalid_request(error.errors(include_url=False), body=document)
        message = f'An item is a line such as {{"item": {{"text": "…"}}}}. {reason.message}'
        raise ItemFault("invalid_item", message) from error


def build_body(sampling: Sampling, model: str, row: Row) -> dict[str, Any]:
    """Build the chat request for an item. Raises ItemFault."""
    params = sampling.params.model_dump(exclude_none=True)
    return {"model": model, "messages": _build_messages(sampling, row), **params}


def _build_messages(sampling: Sampling, row: Row) -> Any:
    variables = {"item": row.item, "sample": {}}
    try:
        if isinstance(sampling.input_messages, ItemReference):
            path = sampling.input_messages.item_reference.strip()
            return _to_chat_messages(resolve_path(path, variables))
        renderer = Renderer(variables, MAX_RENDERED_CHARS)
        return [
            {"role": message.role, "content": renderer.render(message.content)}
            for message in sampling.input_messages.template
        ]
    except UnknownVariable as error:
        raise ItemFault("invalid_variable", f"This item has no variable '{error}'.") from error
    except RenderedTooLong as error:
        reason = f"The messages of an item have at most {MAX_RENDERED_CHARS:,} characters."
        raise ItemFault("string_above_max_length", reason) from error


def _to_chat_messages(messages: Any) -> Any:
    """Write parts of texts as of the Responses API in the form of chats."""
    if not isinstance(messages, list):
        return messages
    return [
        message | {"content": [_to_chat_part(part) for part in message["content"]]}
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def _to_chat_part(part: Any) -> Any:
    is_text = isinstance(part, dict) and part.get("type") in ("input_text", "output_text")
    return {"type": "text", "text": part.get("text")} if is_text else part


def describe_answer(sample: Sample, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Put a chat completion into the sample; return the variables of templates."""
    choices = answer["choices"]
    message = choices[0]["message"]
    usage = answer.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    sample.output = [{"role": message["role"], "content": _describe_message(message)}]
    sample.finish_reason = choices[0].get("finish_reason") or ""
    sample.usage = Usage(
        total_tokens=usage.get("total_tokens") or 0,
        completion_tokens=usage.get("completion_tokens") or 0,
        prompt_tokens=usage.get("prompt_tokens") or 0,
        cached_tokens=details.get("cached_tokens") or 0,
    )
    return {
        "output_text": message.get("content") or "",
        "output_tools": message.get("tool_calls") or [],
        "choices": choices,
    }


def _describe_message(message: Mapping[str, Any]) -> str:
    """The text, or the calls as JSON if there is none."""
    calls = message.get("tool_calls")
    text = message.get("content")
    return orjson.dumps(calls).decode() if calls and not text else text or ""


def describe_given(given: Mapping[str, Any] | None, sample: Sample) -> dict[str, Any]:
    """Put what came with the item into the sample; return the variables of templates."""
    variables = dict(given or {})
    if "output_text" not in variables and (text := _read_content(variables.get("choices"))):
        variables["output_text"] = text
    if "output_text" in variables:
        content = to_text(variables["output_text"])
        sample.output = [{"role": "assistant", "content": content}]
    return variables


def _read_content(choices: Any) -> str | None:
    try:
        content = choices[0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return None
    return content if isinstance(content, str) else None


def describe_messages(messages: Any) -> list[dict[str, str]]:
    """The messages that were sent, each with its content as a text."""
    if not isinstance(messages, list):
        return []
    return [
        {
            "role": str(message.get("role", "")),
            "content": to_text(message.get("content")),
        }
        for message in messages
        if isinstance(message, dict)
    ]


def to_text(content: Any) -> str:
    return content if isinstance(content, str) else orjson.dumps(content).decode()
