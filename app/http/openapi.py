"""OpenAPI responses of routes: documented errors, event streams and raw bodies."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.dependencies.utils import get_dependant
from fastapi.routing import APIRoute
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

# FastAPI's type of a route's `responses`.
Responses = dict[int | str, dict[str, Any]]

COMMON_ERRORS = (InvalidRequest, HeadersTooLarge, ApiError)
AUTH_ERRORS = (Unauthenticated, Forbidden, RateLimited, ServiceUnavailable)
BODY_ERRORS = (RequestTimeout, PayloadTooLarge, UnsupportedMediaType)

TEXT_SCHEMA = {"type": "string"}
BINARY_SCHEMA = {"type": "string", "format": "binary"}


class DocumentedRoute(APIRoute):
    """Route that documents the errors implied by its path and parameters."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        responses: Responses | None = None,
        openapi_extra: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        has_body = (
            "requestBody" in (openapi_extra or {})
            or get_dependant(path=path, call=endpoint).body_params != []
        )
        implied = error_responses(*_implied_errors(path, has_body=has_body))
        super().__init__(
            path,
            endpoint,
            responses={**implied, **(responses or {})},
            openapi_extra=openapi_extra,
            **options,
        )


def error_responses(*kinds: type[ApiError]) -> Responses:
    """A route's `responses` for these errors."""
    return {
        kind.status: {"model": ErrorEnvelope, "description": kind.__doc__ or ""} for kind in kinds
    }


def success_response(media_type: str, schema: Mapping[str, Any]) -> Responses:
    """A route's `responses` for a success that is not JSON."""
    return {200: {"content": {media_type: {"schema": dict(schema)}}}}


def json_or_sse(response: type[BaseModel], event: str) -> Responses:
    """A route's `responses` for a success that is a JSON `response`, or with `stream` a stream of
    server-sent events, each with a JSON object of the type `event`."""
    description = f"With `stream`: the JSON of a `{event}`, and `[DONE]` in the last event"
    # The schema of one event, not of the whole stream: readers of OpenAPI documents expect that.
    schema = {
        "type": "object",
        "required": ["data"],
        "properties": {"data": {**TEXT_SCHEMA, "description": description}},
    }
    return {200: {"model": response, "content": {"text/event-stream": {"schema": schema}}}}


def sse(event: type[BaseModel], description: str) -> Responses:
    """A route's `responses` for a stream of server-sent events with the JSON of an `event`."""
    schema = {
        "type": "object",
        "required": ["data"],
        "properties": {
            "id": {**TEXT_SCHEMA, "description": "Number of the event"},
            "data": {**TEXT_SCHEMA, "description": f"{description}: {_list_fields(event)}"},
        },
    }
    return success_response("text/event-stream", schema)


def _list_fields(model: type[BaseModel]) -> str:
    return ", ".join(f"`{name}`" for name in model.model_fields)


def omit_default_422(app: FastAPI) -> None:
    """Remove FastAPI's own 422 from the document: invalid requests are answered with a 400."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        for schema in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(schema, None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def serialize_once(app: FastAPI) -> None:
    """Serve the document from bytes: it is for everyone, and to serialize it for each request would
    hold the event loop for 50 ms."""
    path = app.openapi_url
    assert path is not None

    @cache
    def serialize() -> bytes:
        return orjson.dumps(app.openapi())

    async def respond(request: Request) -> Response:
        return Response(serialize(), media_type="application/json")

    routes = app.router.routes
    routes[:] = [route for route in routes if getattr(route, "path", None) != path]
    app.add_route(path, respond, include_in_schema=False)


def _implied_errors(path: str, *, has_body: bool) -> Iterator[type[ApiError]]:
    yield from COMMON_ERRORS
    if requires_key(path):
        yield from AUTH_ERRORS
    if has_body:
        yield from BODY_ERRORS
    if "{" in path:
        yield NotFound


def requires_key(path: str) -> bool:
    """The middleware authenticates requests to this path."""
    return path.startswith(("/v1/", "/models/")) or path == "/metrics"
