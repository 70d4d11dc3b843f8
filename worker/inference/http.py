"""Requests and answers of the engine: bodies read, answers sent, clients that leave, errors."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Protocol, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from app.errors import ApiError, InvalidRequest, MethodNotAllowed, NotFound, TooLarge
from app.wire.engine_metadata import HEADER, Observation
from app.wire.validation_errors import refusal
from worker.inference.encoders.responses import Reply

# A larger body is read beside the event loop: thousands of messages take as long as a token.
AT_ONCE_BYTES = 64 * 2**10

Body = TypeVar("Body", bound=BaseModel)
Result = TypeVar("Result")


class Closing(Protocol):
    """What is computed for a stream."""

    def close(self) -> None: ...


class TokenStream(StreamingResponse):
    """Events as they come. A client that leaves, or the end, stops the generation."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[bytes],
        generation: Closing,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(events, headers={"Cache-Control": "no-cache", **headers})
        self._generation = generation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._generation.close()


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """The result of `work`; if the client leaves first, ClientDisconnect and `work` cancelled."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def read(request: Request, kind: type[Body], *, most: int) -> Body:
    """The body, of up to `most` bytes. Raises InvalidRequest, or TooLarge before all is read."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            raise TooLarge
    try:
        if len(data) <= AT_ONCE_BYTES:
            return kind.model_validate_json(data)
        return await asyncio.to_thread(kind.model_validate_json, data)
    except ValidationError as error:
        raise refusal(error.errors(include_url=False)) from error


def as_json(body: BaseModel, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body.model_dump_json(), media_type="application/json", headers=headers)


def sent(reply: Reply) -> Response:
    headers = observed(reply.observation)
    return Response(reply.body, media_type="application/json", headers=headers)


def observed(seen: Observation) -> dict[str, str]:
    return {HEADER: seen.header()}


async def answer_error(request: Request, error: Exception) -> Response:
    """Every error in OpenAI's envelope."""
    shown = _shown(request, error)
    return JSONResponse(shown.body(), status_code=shown.status, headers=dict(shown.headers))


def _shown(request: Request, error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    where = f"({request.method} {request.url.path})"
    if isinstance(error, HTTPException) and error.status_code == NotFound.status:
        return NotFound(f"Invalid URL {where}")
    if isinstance(error, HTTPException) and error.status_code == MethodNotAllowed.status:
        return MethodNotAllowed(f"Not allowed {where}")
    if isinstance(error, HTTPException | ClientDisconnect):
        return InvalidRequest(f"The request was broken off {where}")
    return ApiError()
