"""An engine's answer, passed on as it comes."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.http.dependencies import Parts, ask_statement
from app.inference.engines import Engines, EngineUnavailable
from app.models import registry
from app.models.registry import ServedModel
from app.monitoring.recorder import Recorder
from app.monitoring.traffic import Asked, Outcome
from app.wire.engine_metadata import Observation

# Proxies must not gather events: a stream that arrives in one piece is no stream.
STREAMED = {"cache-control": "no-cache", "x-accel-buffering": "no"}


async def resolve(parts: Parts, project_id: str, name: str) -> ServedModel:
    """What answers under a model's name. Raises NotFound."""
    # Not in the request's session: that would stay open for as long as the engine answers.
    return await ask_statement(
        parts, lambda session: registry.resolve(session, parts.catalog, project_id, name)
    )


class Relay(Response):
    """Asks the engine when it is sent, and hangs up on the engine when the client hangs up.

    Raises EngineUnavailable before the answer begins.
    """

    def __init__(
        self,
        engines: Engines,
        recorder: Recorder,
        served: ServedModel,
        path: str,
        body: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self._engines = engines
        self._recorder = recorder
        self._served = served
        self._path = path
        self._asked = body
        # As long as nothing else is known, it is the client that has not waited.
        self._outcome: Outcome = "left"
        self._observation: Observation | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._noted(scope["request_id"]):
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

    @contextmanager
    def _noted(self, request_id: str) -> Iterator[None]:
        """Have the request counted, if its model is one that is monitored."""
        started = time.monotonic()
        try:
            yield
        except EngineUnavailable:
            self._outcome = "failed"
            raise
        finally:
            if self._served.storage_prefix is not None:
                asked = Asked(
                    model=self._served.name,
                    request_id=request_id,
                    outcome=self._outcome,
                    seconds=time.monotonic() - started,
                    observation=self._observation,
                )
                self._recorder.note(asked)

    async def _pass_on(self, send: Send) -> None:
        async with self._engines.relay(self._served, self._path, self._asked) as answer:
            headers = {**answer.headers, **STREAMED}
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": answer.status, "headers": raw})
            async for chunk in answer.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            self._observation = answer.observation
            self._outcome = _outcome(answer.status)


def _outcome(status: int) -> Outcome:
    if status < 400:
        return "answered"
    return "refused" if status < 500 else "failed"


async def _client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
