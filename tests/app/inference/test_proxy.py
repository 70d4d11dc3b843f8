"""The proxied response as an ASGI app: disconnects and errors of the task that forwards it."""

import asyncio
from typing import Any, cast

import pytest
from starlette.types import Message

from app.auth.principals import Principal
from app.catalog import Catalog
from app.inference.engines import EngineClient, EngineUnavailable
from app.inference.proxy import ProxyResponse
from app.models.registry import ResolvedModel
from app.monitoring.recorder import TrafficRecorder
from app.settings import Settings
from tests.app.inference.test_engines import MODELS
from tests.live_server import FakeEngine

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"
SCOPE = {"type": "http", "request_id": "req_1"}


def make_response(engines: EngineClient, content: str) -> ProxyResponse:
    base = next(iter(Catalog.load(MODELS)))
    messages = [{"role": "user", "content": content}]
    body: dict[str, Any] = {"model": base.id, "messages": messages, "stream": True}
    # Requests to base models are not recorded.
    no_recorder = cast(TrafficRecorder, None)
    principal = Principal("key_1", "proj_1", "org_1", "acme")
    return ProxyResponse(
        engines, no_recorder, ResolvedModel(base.id, base), PATH, body, principal=principal
    )


async def test_a_disconnect_gives_the_engines_connection_back(
    settings: Settings, engine: FakeEngine
) -> None:
    """Also while the forwarding task waits for a slow client, with the engine's stream open."""
    here = settings.model_copy(update={"engine_url": engine.url})
    engines = EngineClient(here, Catalog.load(MODELS))
    sending = asyncio.Event()

    async def receive() -> Message:
        await sending.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            sending.set()
            await asyncio.Event().wait()

    await make_response(engines, "forever")(SCOPE, receive, send)
    pool = engines._connection.client._transport._pool  # type: ignore[attr-defined]
    assert pool.connections == []
    assert await asyncio.to_thread(engine.aborted.wait, 60), "the engine was not aborted"
    await engines.close()


async def test_an_engines_failure_is_raised_as_itself(settings: Settings) -> None:
    """Not within the ExceptionGroup of a task group, which no error handler would recognize."""
    unreachable = settings.model_copy(update={"engine_url": "http://127.0.0.1:9"})
    engines = EngineClient(unreachable, Catalog.load(MODELS))

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("cancelled before")

    async def send(message: Message) -> None:
        raise AssertionError(message)

    with pytest.raises(EngineUnavailable):
        await make_response(engines, "hello")(SCOPE, receive, send)
    await engines.close()
