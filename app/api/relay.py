"""An engine's answer, passed on as it comes."""

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.engines import Engines, ServedModel

# Proxies must not gather events: a stream that arrives in one piece is no stream.
STREAMED = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class Relay(Response):
    """Asks the engine when it is sent, and hangs up on the engine when the client hangs up.

    Raises EngineUnavailable before the answer begins.
    """

    def __init__(
        self, engines: Engines, served: ServedModel, path: str, body: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self._engines = engines
        self._served = served
        self._path = path
        self._asked = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        passing = asyncio.ensure_future(self._pass_on(send))
        leaving = asyncio.ensure_future(_client_leaves(receive))
        try:
            await asyncio.wait({passing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if passing.done():
                passing.result()
        finally:
            passing.cancel()
            leaving.cancel()
            await asyncio.gather(passing, leaving, return_exceptions=True)

    async def _pass_on(self, send: Send) -> None:
        async with self._engines.relay(self._served, self._path, self._asked) as answer:
            headers = {**answer.headers, **STREAMED}
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": answer.status, "headers": raw})
            async for chunk in answer.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def _client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
