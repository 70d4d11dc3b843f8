"""Requests to engines without a client that waits: at a low priority, and tried again while an
engine is away or has too much to do."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from app.errors import ApiError, InvalidRequest, ModelDamaged, ServiceUnavailable
from app.inference.endpoints import Endpoint
from app.inference.engine_errors import EngineFailed, EngineTimeout
from app.inference.engines import EngineClient, EngineResponse
from app.inference.metrics import RequestMeter
from app.models.registry import ResolvedModel
from app.monitoring.recorder import TrafficRecorder
from app.monitoring.traffic import RequestOutcome, ServedRequest
from app.wire.engine_metadata import EngineMetadata, Priority
from app.work.kinds import ItemPostponed

# Statuses of an engine with too much to do.
BUSY_STATUSES = (429, 503)
# Failures of the engine while it computes an answer, after which the request itself is blamed.
MAX_ENGINE_FAILURES = 5
MAX_COUNTED_FAILURES = 10_000
MAX_ANSWER_BYTES = 32 * 2**20


class AnswerTooLarge(InvalidRequest):
    """The answer has more than 32 MiB. Request fewer choices or log-probabilities."""

    code = "answer_too_large"


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer to a request: `body` is JSON."""

    status: int
    body: bytes

    @classmethod
    def of_error(cls, error: ApiError) -> "Answer":
        return cls(error.status, orjson.dumps(error.body()))


class EngineFailures:
    """Failures of engines by request, those of the last request at the end.

    One of these outlives the leases of ranges, which are given back while an engine is away.
    """

    def __init__(self) -> None:
        self._counts: dict[Hashable, int] = {}

    def is_to_blame(self, key: Hashable) -> bool:
        """Count a failure on a request; true if it was the last that is allowed."""
        failures = self._counts.pop(key, 0) + 1
        if failures >= MAX_ENGINE_FAILURES:
            return True
        self._counts[key] = failures
        # The oldest, so that work that was cancelled leaves nothing for long.
        while len(self._counts) > MAX_COUNTED_FAILURES:
            del self._counts[next(iter(self._counts))]
        return False


class UnattendedRequests:
    """Requests of a project's work."""

    def __init__(
        self,
        engines: EngineClient,
        recorder: TrafficRecorder,
        project_id: str,
        failures: EngineFailures,
    ) -> None:
        self._engines = engines
        self._recorder = recorder
        self._project_id = project_id
        self._failures = failures

    async def answer(
        self,
        key: Hashable,
        model: ResolvedModel | ApiError,
        endpoint: Endpoint,
        body: object,
        request_id: str,
    ) -> Answer:
        """Validate a body, unless it was validated, and send it.

        The answer is the engine's own, or an error.

        `key` tells the requests of all work apart. `model` is the error of the request if there is
        no such model any more. Raises ItemPostponed.
        """
        try:
            if isinstance(model, ApiError):
                raise model
            request = endpoint.build(endpoint.parse(body), model)
            answer = await self._send(model, endpoint, request, request_id)
        except (EngineTimeout, ModelDamaged) as error:
            return Answer.of_error(error)
        except ServiceUnavailable as error:
            if _is_lost(error) and self._failures.is_to_blame(key):
                return Answer.of_error(error)
            raise ItemPostponed from error
        except ApiError as error:
            return Answer.of_error(error)
        if answer.status in BUSY_STATUSES:
            raise ItemPostponed
        if answer.status >= 500 and not self._failures.is_to_blame(key):
            raise ItemPostponed
        return answer

    async def _send(
        self, model: ResolvedModel, endpoint: Endpoint, body: Mapping[str, Any], request_id: str
    ) -> Answer:
        meter = RequestMeter(model.base.id)
        # Assumed until it ends otherwise: only the end of the range's lease ends it early.
        outcome, metadata = RequestOutcome.CLIENT_DISCONNECTED, None
        try:
            async with self._engines.forward(
                model,
                endpoint.engine_path or endpoint.path,
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


def _is_lost(error: ServiceUnavailable) -> bool:
    """True if the engine had the request; false if it could not be reached."""
    if isinstance(error, EngineFailed):
        return True
    cause = error.__cause__
    was_reached = not isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout)
    return isinstance(cause, httpx.TransportError) and was_reached
