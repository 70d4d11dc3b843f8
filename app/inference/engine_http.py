"""HTTP connection to engines, and what can be said of any engine's response."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx
import orjson

from app import logs
from app.inference.engine_errors import EngineTimeout, EngineUnavailable

log = logs.get_logger(__name__)

CONNECT_TIMEOUT_SECONDS = 5
# Between two bytes of an engine. Long, because a queue of long prompts is slow.
READ_TIMEOUT_SECONDS = 600
# Below the 5 s after which servers close idle connections: reusing one as it closes fails.
KEEPALIVE_EXPIRY_SECONDS = 2


def create_client(read_timeout_seconds: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=httpx.Timeout(read_timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS),
        limits=httpx.Limits(max_connections=None, keepalive_expiry=KEEPALIVE_EXPIRY_SECONDS),
        # Engines are on the internal network: an outbound proxy must not see their requests.
        trust_env=False,
        headers={"Accept-Encoding": "identity"},
    )


async def post(
    client: httpx.AsyncClient, url: str, body: Mapping[str, Any], headers: Mapping[str, str]
) -> httpx.Response:
    """POST a body; the response's body is not read yet.

    Raises EngineUnavailable, and EngineTimeout, which is one.
    """
    # Not httpx's `json=`: it takes ten times as long for a long text, on the event loop.
    content = orjson.dumps(body)
    request = client.build_request(
        "POST", url, content=content, headers={"Content-Type": "application/json", **headers}
    )
    try:
        return await client.send(request, stream=True)
    except httpx.ReadTimeout as error:
        log.warning("engine.timed_out", url=url)
        raise EngineTimeout from error
    except httpx.TransportError as error:
        log.warning("engine.unreachable", url=url, reason=repr(error))
        raise EngineUnavailable from error


async def read_body(upstream: httpx.Response) -> bytes:
    """Read a response whole. Raises EngineUnavailable."""
    try:
        return await upstream.aread()
    except httpx.TransportError as error:
        log.warning("engine.lost", url=str(upstream.url), reason=repr(error))
        raise EngineUnavailable from error


def read_object(body: bytes) -> dict[str, Any] | None:
    """Read a JSON object, if the body is one."""
    with suppress(ValueError):
        document = json.loads(body)
        if isinstance(document, dict):
            return document
    return None


def read_error(body: bytes) -> dict[str, Any] | None:
    """Read OpenAI's error object, if the body is one."""
    error = (read_object(body) or {}).get("error")
    return error if isinstance(error, dict) else None
