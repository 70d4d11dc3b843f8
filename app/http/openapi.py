"""The OpenAPI document: what FastAPI cannot see of routes, such as the errors that they answer."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from app.errors import (
    ApiError,
    Forbidden,
    HeadersTooLarge,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    RequestTimeout,
    ServiceUnavailable,
    Unauthenticated,
    UnsupportedMediaType,
)
from app.wire.base import ErrorEnvelope

Errors = tuple[type[ApiError], ...]

COMMON_ERRORS: Errors = (InvalidRequest, HeadersTooLarge, ApiError)
AUTH_ERRORS: Errors = (Unauthenticated, Forbidden, RateLimited, ServiceUnavailable)
BODY_ERRORS: Errors = (RequestTimeout, PayloadTooLarge, UnsupportedMediaType)
# And where something is named: in the path, or by a body's `model` on the routes with these tags.
LOOKUP_ERRORS: Errors = (NotFound,)
MODELS = {"chat", "completions", "embeddings", "encoders", "graders"}
# FastAPI makes a component of what it finds here, and leaves out the 422 that nobody answers with.
PLACEHOLDER: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorEnvelope}}

TEXT_SCHEMA = {"type": "string"}
BINARY_SCHEMA = {"type": "string", "format": "binary"}


def register(app: FastAPI) -> None:
    """Have the app, made with PLACEHOLDER among its responses, document its errors."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        for path in document["paths"].values():
            for operation in path.values():
                _document_errors(operation)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def success_response(media_type: str, schema: Mapping[str, Any]) -> dict[int | str, dict[str, Any]]:
    """A route's `responses` when it answers something else than JSON."""
    return {200: {"content": {media_type: {"schema": dict(schema)}}}}


def json_or_sse(answer: type[BaseModel], event: str) -> dict[int | str, dict[str, Any]]:
    """A route's `responses` when it can stream its answer; `event` is what each event holds."""
    said = f"With `stream`: the JSON of a `{event}`, and `[DONE]` in the last event"
    data = {**TEXT_SCHEMA, "description": said}
    # Of one event, not of the whole stream: as readers of such documents take it.
    schema = {"type": "object", "required": ["data"], "properties": {"data": data}}
    return {200: {"model": answer, "content": {"text/event-stream": {"schema": schema}}}}


def _document_errors(operation: dict[str, Any]) -> None:
    """Name the codes, once: FastAPI keeps its document."""
    responses = operation["responses"]
    envelope = responses.pop("4XX", None)
    if envelope is None:
        return
    for error in sorted(_errors(operation), key=lambda error: error.status):
        described = {**envelope, "description": error.__doc__ or ""}
        responses.setdefault(str(error.status), described)


def _errors(operation: Mapping[str, Any]) -> Iterator[type[ApiError]]:
    places = {parameter["in"] for parameter in operation.get("parameters", ())}
    yield from COMMON_ERRORS
    if "security" in operation:
        yield from AUTH_ERRORS
    if "requestBody" in operation:
        yield from BODY_ERRORS
    if "path" in places or MODELS.intersection(operation.get("tags", ())):
        yield from LOOKUP_ERRORS
