"""HTTP plumbing of the engine: request bodies, responses, client disconnects and errors."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Protocol, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from app.errors import ApiError, InvalidRequest, MethodNotAllowed, NotFound, PayloadTooLarge
from app.wire.engine_metadata import (
    METADATA_HEADER,
    PRIORITY_HEADER,
    PROJECT_HEADER,
    EngineMetadata,
    Priority,
)
from app.wire.validation_errors import to_invalid_request
from worker.inference import shares
from worker.inference.encoders.responses import EncodedResponse

# A larger body is parsed in a thread: thousands of messages take as long as one token.
MAX_INLINE_PARSE_BYTES = 64 * 2**10

MAX_PROJECT_LENGTH = 64

Body = TypeVar("Body", bound=BaseModel)
Result = TypeVar("Result")


class Closable(Protocol):
    """A computation that feeds a stream."""

    def close(self) -> None: ...


class EventStreamResponse(StreamingResponse):
    """Server-sent events. When the stream ends or the client disconnects, the generation stops."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[bytes],
        generation: Closable,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(events, headers={"Cache-Control": "no-cache", **headers})
        self._generation = generation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._generation.close()


async def cancel_on_disconnect(request: Request, work: Awaitable[Result]) -> Result:
    """Await `work`. If the client disconnects first, cancel it and raise ClientDisconnect."""
    working = asyncio.ensure_future(work)
    disconnect = asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait((working, disconnect), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        disconnect.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def read_project(request: Request) -> str:
    """Return the share of the engine that a request takes: that of a project, or of its batches.

    Requests without one share one more part. The engine's key is what makes the headers credible.
    """
    priority = request.headers.get(PRIORITY_HEADER, Priority.LIVE)
    return shares.name_share(find_project(request.scope), priority)


def find_project(scope: Scope) -> str:
    """Return the id of a request's project; empty without one."""
    return Headers(scope=scope).get(PROJECT_HEADER, "")[:MAX_PROJECT_LENGTH]


async def read_body(request: Request, model: type[Body], *, max_bytes: int) -> Body:
    """Read and validate a JSON body of up to `max_bytes`.

    Raises InvalidRequest, or PayloadTooLarge before the whole body was read.
    """
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > max_bytes:
            raise PayloadTooLarge
    try:
        if len(data) <= MAX_INLINE_PARSE_BYTES:
            return model.model_validate_json(data)
        return await asyncio.to_thread(model.model_validate_json, data)
    except ValidationError as error:
        raise to_invalid_request(error.errors(include_url=False)) from error


def json_response(
    body: BaseModel, headers: Mapping[str, str] | None = None, *, exclude_unset: bool = False
) -> Response:
    content = body.model_dump_json(exclude_unset=exclude_unset)
    return Response(content, media_type="application/json", headers=headers)


def encoded_response(response: EncodedResponse) -> Response:
    headers = metadata_headers(response.metadata)
    return Response(response.body, media_type="application/json", headers=headers)


def metadata_headers(metadata: EngineMetadata) -> dict[str, str]:
    return {METADATA_HEADER: metadata.to_header()}


async def handle_error(request: Request, error: Exception) -> Response:
    """Render any exception as OpenAI's error object."""
    api_error = _to_api_error(request, error)
    return JSONResponse(
        api_error.body(), status_code=api_error.status, headers=dict(api_error.headers)
    )


def _to_api_error(request: Request, error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    endpoint = f"({request.method} {request.url.path})"
    if isinstance(error, HTTPException) and error.status_code == NotFound.status:
        return NotFound(f"Invalid URL {endpoint}")
    if isinstance(error, HTTPException) and error.status_code == MethodNotAllowed.status:
        return MethodNotAllowed(f"Not allowed {endpoint}")
    if isinstance(error, HTTPException | ClientDisconnect):
        return InvalidRequest(f"The request was aborted {endpoint}")
    return ApiError()
