"""Proxy of requests to an engine: streams the response and records traffic for monitoring."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any

from sqlalchemy.orm import Session
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.auth.principals import Principal
from app.db.tables import UsageKind
from app.errors import ServiceUnavailable
from app.http.dependencies import AppState, run_autocommit
from app.http_server.disconnects import run_until_disconnect
from app.inference.answer_translation import AnswerTranslator
from app.inference.answer_usage import UsageReader, request_usage, wants_usage
from app.inference.endpoints import EMBEDDINGS_PATH
from app.inference.engine_responses import EVENT_STREAM, EngineResponse, single_chunk
from app.inference.engines import EngineClient
from app.inference.metrics import RequestMeter
from app.models import registry
from app.models.registry import ModelTask, ResolvedModel
from app.monitoring.recorder import TrafficRecorder
from app.monitoring.traffic import RequestOutcome, ServedRequest
from app.stored_completions.recorder import CompletionCapture
from app.usage.ledger import UsageCounts, UsageKey
from app.wire.engine_metadata import EngineMetadata

# Keeps reverse proxies from buffering a stream of events.

NO_BUFFERING_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


async def resolve_model(
    state: AppState, project_id: str, name: str, task: ModelTask, *, param: str = "model"
) -> ResolvedModel:
    """Find a model that can do the task. Raises ModelNotFound, and InvalidRequest for `param`."""

    def resolve(session: Session) -> ResolvedModel:
        return registry.resolve(session, state.catalog, project_id, name, task=task, param=param)

    # Not in the request's session, which would stay open until the engine has responded.
    return await run_autocommit(state, resolve)


class ProxyResponse(Response):
    """Response that sends a project's `body` to the engine and streams back what it returns, or
    what a translator makes of it.

    Aborts the engine's request if the client disconnects. Raises EngineUnavailable before the
    response begins.
    """

    def __init__(
        self,
        engines: EngineClient,
        recorder: TrafficRecorder,
        model: ResolvedModel,
        path: str,
        body: Mapping[str, Any],
        *,
        principal: Principal,
        capture: CompletionCapture | None = None,
        translator: AnswerTranslator | None = None,
    ) -> None:
        super().__init__()
        self._engines = engines
        self._recorder = recorder
        self._model = model
        self._path = path
        self._body = body
        self._principal = principal
        self._reader = UsageReader(is_stream=bool(body.get("stream")), is_wanted=wants_usage(body))
        self._capture = capture
        self._translator = translator
        # Assumed until the response is complete: only a disconnect ends it early without an error.
        self._outcome = RequestOutcome.CLIENT_DISCONNECTED
        self._metadata: EngineMetadata | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        meter = RequestMeter(self._model.base.id)
        with self._record_request(scope["request_id"], meter):
            await run_until_disconnect(receive, partial(self._forward, send, meter))

    @contextmanager
    def _record_request(self, request_id: str, meter: RequestMeter) -> Iterator[None]:
        """Count the request, and record its outcome and duration if its model is monitored."""
        try:
            yield
        except ServiceUnavailable:
            self._outcome = RequestOutcome.SERVER_ERROR
            raise
        finally:
            meter.ended(self._outcome)
            if self._model.storage_prefix is not None:
                request = ServedRequest(
                    model=self._model.name,
                    request_id=request_id,
                    outcome=self._outcome,
                    duration_seconds=meter.seconds,
                    metadata=self._metadata,
                )
                self._recorder.record(request)
            self._record_usage()

    def _record_usage(self) -> None:
        """Count the tokens of an answer; of one that was broken off, those that came at least."""
        counts = self._reader.usage
        if counts is None and self._metadata is not None:
            given = max(0, self._reader.num_events - (self._body.get("n") or 1))
            counts = UsageCounts(1, self._metadata.tokens, 0, given)
        if counts is None:
            return
        is_embedding = self._path == EMBEDDINGS_PATH
        key = UsageKey(
            self._principal.project_id,
            self._principal.key_id,
            self._model.name,
            UsageKind.EMBEDDINGS if is_embedding else UsageKind.COMPLETIONS,
        )
        self._recorder.record_usage(key, counts)

    async def _forward(self, send: Send, meter: RequestMeter) -> None:
        async with self._engines.forward(
            self._model,
            self._path,
            request_usage(self._body),
            project_id=self._principal.project_id,
        ) as response:
            if response.status < HTTPStatus.BAD_REQUEST:
                self._metadata = response.metadata
            is_stream = response.headers.get("content-type", "").startswith(EVENT_STREAM)
            chunks = await self._translate(response, is_stream=is_stream)
            headers = {**response.headers, **NO_BUFFERING_HEADERS}
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": response.status, "headers": raw})
            async for chunk in chunks:
                if is_stream:
                    meter.part_arrived()
                if self._capture is not None and response.status < 400:
                    self._capture.add(chunk, is_stream=is_stream)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            self._outcome = _outcome_of(response.status)

    async def _translate(
        self, response: EngineResponse, *, is_stream: bool
    ) -> AsyncIterator[bytes]:
        chunks = self._reader.read(response.chunks)
        if self._translator is None:
            return chunks
        if is_stream:
            return self._translator.translate_stream(chunks)
        body = b"".join([chunk async for chunk in chunks])
        return single_chunk(await self._translator.translate_body(response.status, body))


def _outcome_of(status: int) -> RequestOutcome:
    if status < 400:
        return RequestOutcome.SUCCEEDED
    return RequestOutcome.CLIENT_ERROR if status < 500 else RequestOutcome.SERVER_ERROR
