"""An engine's answer, passed on as it comes."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.http.dependencies import AppState, run_autocommit
from app.inference.engines import EngineClient, EngineUnavailable
from app.models import registry
from app.models.registry import ResolvedModel
from app.monitoring.recorder import TrafficRecorder
from app.monitoring.traffic import RequestOutcome, ServedRequest
from app.wire.engine_metadata import EngineMetadata

# Proxies must not gather events: a stream that arrives in one piece is no stream.
NO_BUFFERING_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


async def resolve_model(parts: AppState, project_id: str, name: str) -> ResolvedModel:
    """What answers under a model's name. Raises NotFound."""
    # Not in the request's session: that would stay open for as long as the engine answers.
    return await run_autocommit(
        parts, lambda session: registry.resolve(session, parts.catalog, project_id, name)
    )


class ProxyResponse(Response):
    """Asks the engine when it is sent, and hangs up on the engine when the client hangs up.

    Raises EngineUnavailable before the answer begins.
    """

    def __init__(
        self,
        engines: EngineClient,
        recorder: TrafficRecorder,
        served: ResolvedModel,
        path: str,
        body: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self._engines = engines
        self._recorder = recorder
        self._model = served
        self._path = path
        self._body = body
        # As long as nothing else is known, it is the client that has not waited.
        self._outcome: RequestOutcome = "left"
        self._metadata: EngineMetadata | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._record_request(scope["request_id"]):
            passing = asyncio.ensure_future(self._forward(send))
            leaving = asyncio.ensure_future(_wait_for_disconnect(receive))
            try:
                await asyncio.wait({passing, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if passing.done():
                    passing.result()
            finally:
                passing.cancel()
                leaving.cancel()
                await asyncio.gather(passing, leaving, return_exceptions=True)

    @contextmanager
    def _record_request(self, request_id: str) -> Iterator[None]:
        """Have the request counted, if its model is one that is monitored."""
        started = time.monotonic()
        try:
            yield
        except EngineUnavailable:
            self._outcome = "failed"
            raise
        finally:
            if self._model.storage_prefix is not None:
                asked = ServedRequest(
                    model=self._model.name,
                    request_id=request_id,
                    outcome=self._outcome,
                    duration_seconds=time.monotonic() - started,
                    metadata=self._metadata,
                )
                self._recorder.record(asked)

    async def _forward(self, send: Send) -> None:
        async with self._engines.forward(self._model, self._path, self._body) as answer:
            headers = {**answer.headers, **NO_BUFFERING_HEADERS}
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": answer.status, "headers": raw})
            async for chunk in answer.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            self._metadata = answer.metadata
            self._outcome = _outcome_of(answer.status)


def _outcome_of(status: int) -> RequestOutcome:
    if status < 400:
        return "answered"
    return "refused" if status < 500 else "failed"


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
