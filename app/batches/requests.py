"""Requests of a range of a batch, which are sent to the model's engine at a low priority."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from app import ids
from app.batches.counts import Total
from app.batches.input import BatchRequest, parse_line
from app.batches.output import build_line
from app.errors import ApiError, InvalidRequest, ModelDamaged, ServiceUnavailable
from app.inference.answer_usage import read_tokens
from app.inference.endpoints import Endpoint
from app.inference.engine_errors import EngineFailed, EngineTimeout
from app.inference.engines import EngineClient, EngineResponse
from app.inference.metrics import RequestMeter
from app.models.registry import ResolvedModel
from app.monitoring.recorder import TrafficRecorder
from app.monitoring.traffic import RequestOutcome, ServedRequest
from app.wire.engine_metadata import EngineMetadata, Priority
from app.work.kinds import ItemPostponed, ItemResult

# Statuses of an engine with too much to do.
BUSY_STATUSES = (429, 503)
# Failures of the engine while it computes an answer, after which the request itself is blamed.
MAX_ENGINE_FAILURES = 5
MAX_COUNTED_FAILURES = 10_000
# By batch and index of the request, those that failed last at the end.
EngineFailures = dict[tuple[str, int], int]
MAX_ANSWER_BYTES = 32 * 2**20


class AnswerTooLarge(InvalidRequest):
    """The answer is too large for a batch. Request fewer choices or log-probabilities."""

    code = "answer_too_large"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered: `body` is JSON."""

    status: int
    body: bytes


class BatchRange:
    """The requests of one range, from the lines of the input file."""

    def __init__(
        self,
        engines: EngineClient,
        recorder: TrafficRecorder,
        *,
        batch_id: str,
        project_id: str,
        endpoint: Endpoint,
        model: ResolvedModel | ApiError,
        lines: Mapping[int, bytes],
        engine_failures: EngineFailures,
    ) -> None:
        """`model` is the error of each request if there is no such model any more.

        `engine_failures` outlive the range's lease, which is given back while an engine is away.
        """
        self._engines = engines
        self._recorder = recorder
        self._batch_id = batch_id
        self._project_id = project_id
        self._endpoint = endpoint
        self._model = model
        self._lines = lines
        self._engine_failures = engine_failures

    @property
    def indexes(self) -> Sequence[int]:
        return list(self._lines)

    async def run(self, index: int, tries: int) -> ItemResult:
        """Send one request. Raises ItemPostponed while the engine is away or has too much to do."""
        request = parse_line(self._lines[index], self._endpoint)
        request_id = ids.request_id()
        answer = await self._answer(index, request, request_id)
        line = build_line(
            self._batch_id,
            index,
            request.custom_id,
            status=answer.status,
            request_id=request_id,
            body=answer.body,
        )
        is_success = answer.status < 400
        return ItemResult(index, is_success, line, _read_usage(answer) if is_success else {})

    async def _answer(self, index: int, request: BatchRequest, request_id: str) -> Answer:
        try:
            if isinstance(self._model, ApiError):
                raise self._model
            body = self._endpoint.build(self._endpoint.parse(request.body), self._model)
            answer = await self._send(self._model, body, request_id)
        except (EngineTimeout, ModelDamaged) as error:
            return _to_answer(error)
        except ServiceUnavailable as error:
            if _is_lost(error) and self._is_to_blame(index):
                return _to_answer(error)
            raise ItemPostponed from error
        except ApiError as error:
            return _to_answer(error)
        if answer.status in BUSY_STATUSES:
            raise ItemPostponed
        if answer.status >= 500 and not self._is_to_blame(index):
            raise ItemPostponed
        return answer

    def _is_to_blame(self, index: int) -> bool:
        """Count a failure of the engine on a request; true if it was the last that is allowed."""
        key = (self._batch_id, index)
        failures = self._engine_failures.pop(key, 0) + 1
        if failures >= MAX_ENGINE_FAILURES:
            return True
        self._engine_failures[key] = failures
        # The oldest, so that batches that were cancelled leave nothing for long.
        while len(self._engine_failures) > MAX_COUNTED_FAILURES:
            del self._engine_failures[next(iter(self._engine_failures))]
        return False

    async def _send(self, model: ResolvedModel, body: Mapping[str, Any], request_id: str) -> Answer:
        meter = RequestMeter(model.base.id)
        # Assumed until it ends otherwise: only the end of the range's lease ends it early.
        outcome, metadata = RequestOutcome.CLIENT_DISCONNECTED, None
        try:
            async with self._engines.forward(
                model,
                self._endpoint.path,
                body,
                project_id=self._project_id,
                priority=Priority.BATCH,
            ) as response:
                content = await _read_all(response)
                metadata = response.metadata
                outcome = _outcome_of(response.status)
                return Answer(response.status, content)
        except ApiError as error:
            outcome = _outcome_of(error.status)
            raise
        finally:
            meter.ended(outcome)
            self._record(model, request_id, outcome, meter.seconds, metadata)

    def _record(
        self,
        model: ResolvedModel,
        request_id: str,
        outcome: RequestOutcome,
        seconds: float,
        metadata: EngineMetadata | None,
    ) -> None:
        """Record a request to a monitored model."""
        if model.storage_prefix is not None:
            served = ServedRequest(
                model=model.name,
                request_id=request_id,
                outcome=outcome,
                duration_seconds=seconds,
                metadata=metadata,
            )
            self._recorder.record(served)


async def _read_all(response: EngineResponse) -> bytes:
    """Read an answer. Raises AnswerTooLarge."""
    content = bytearray()
    async for chunk in response.chunks:
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise AnswerTooLarge
    return bytes(content)


def _outcome_of(status: int) -> RequestOutcome:
    if status < 400:
        return RequestOutcome.SUCCEEDED
    return RequestOutcome.CLIENT_ERROR if status < 500 else RequestOutcome.SERVER_ERROR


def _to_answer(error: ApiError) -> Answer:
    return Answer(error.status, orjson.dumps(error.body()))


def _is_lost(error: ServiceUnavailable) -> bool:
    """True if the engine had the request; false if it could not be reached."""
    if isinstance(error, EngineFailed):
        return True
    cause = error.__cause__
    was_reached = not isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout)
    return isinstance(cause, httpx.TransportError) and was_reached


def _read_usage(answer: Answer) -> dict[str, int]:
    """Read the usage of an answer, by the names of a batch's totals."""
    tokens = read_tokens(answer.body)
    if tokens is None:
        return {}
    return {
        Total.INPUT: tokens.input,
        Total.CACHED: tokens.cached,
        Total.OUTPUT: tokens.output,
        Total.REASONING: tokens.reasoning,
    }
