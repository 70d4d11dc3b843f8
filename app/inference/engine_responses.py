"""Responses of engines, as the API passes them on."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import httpx
import orjson

from app import logs
from app.errors import ApiError
from app.inference.engine_errors import EngineFailed, EngineUnavailable
from app.inference.engine_http import read_error
from app.inference.foreign_answers import translate_answer, translate_error, translate_events
from app.wire.engine_metadata import METADATA_HEADER, EngineMetadata, parse_header

log = logs.get_logger(__name__)

# Response headers of an engine that clients get; all others are dropped.
FORWARDED_HEADERS = ("content-type", "retry-after")
EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class EngineResponse:
    """An engine's response: all its bytes in one chunk, or a stream of server-sent events.

    `metadata` is for monitoring and not sent to the client.
    """

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
    metadata: EngineMetadata | None


@dataclass(frozen=True, slots=True)
class Reply:
    """An engine's response: its whole body as `head`, or the begin of a stream and its `rest`."""

    upstream: httpx.Response
    head: bytes
    rest: AsyncIterator[bytes] | None


def to_response(reply: Reply) -> EngineResponse:
    upstream = reply.upstream
    headers = _select_headers(upstream)
    metadata = parse_header(upstream.headers.get(METADATA_HEADER))
    if reply.rest is not None:
        chunks = _stream_events(reply.head, reply.rest, upstream)
        return EngineResponse(upstream.status_code, headers, chunks, metadata)
    # The API has resolved the model, so an engine that does not know it is our fault.
    is_unknown = upstream.status_code == httpx.codes.NOT_FOUND
    if is_unknown or (upstream.is_error and read_error(reply.head) is None):
        log.error("engine.failed", url=str(upstream.url), status=upstream.status_code)
        raise EngineFailed
    return EngineResponse(upstream.status_code, headers, single_chunk(reply.head), metadata)


def to_translated_response(reply: Reply, name: str, names: dict[str, str]) -> EngineResponse:
    """The response of an engine of another kind, in the form of our own.

    Raises EngineUnavailable if it failed.
    """
    upstream = reply.upstream
    if upstream.is_error:
        return error_response(translate_error(upstream.status_code, reply.head, names=names))
    headers = _select_headers(upstream)
    if reply.rest is None:
        answer = translate_answer(reply.head, name=name)
        return EngineResponse(upstream.status_code, headers, single_chunk(answer), None)
    chunks = translate_events(_chain(reply.head, reply.rest), name=name, names=names)
    return EngineResponse(
        upstream.status_code, headers, _stream_events(b"", chunks, upstream), None
    )


def error_response(error: ApiError) -> EngineResponse:
    """An error of the request, as our own engine answers it. Raises EngineUnavailable if it is."""
    if isinstance(error, EngineUnavailable):
        raise error
    headers = {"content-type": "application/json", **error.response_headers}
    return EngineResponse(error.status, headers, single_chunk(orjson.dumps(error.body())), None)


def _select_headers(upstream: httpx.Response) -> dict[str, str]:
    return {name: upstream.headers[name] for name in FORWARDED_HEADERS if name in upstream.headers}


async def _stream_events(
    head: bytes, rest: AsyncIterator[bytes], upstream: httpx.Response
) -> AsyncIterator[bytes]:
    """Yield the bytes as they arrive; if the engine dies meanwhile, an error as the last event."""
    try:
        async for chunk in _chain(head, rest):
            yield chunk
    except httpx.TransportError as error:
        log.warning("engine.lost", url=str(upstream.url), reason=repr(error))
        yield b"\n\ndata: " + orjson.dumps(EngineUnavailable().body()) + b"\n\n"


async def _chain(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if head:
        yield head
    async for chunk in rest:
        yield chunk


async def single_chunk(body: bytes) -> AsyncIterator[bytes]:
    """A body as the only chunk."""
    yield body
