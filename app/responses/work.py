"""Responses in the background as a kind of work: one request to the model's engine."""

from collections.abc import Sequence
from typing import Any

import orjson

from app import ids
from app.catalog import Catalog
from app.db.session import SessionMaker, transaction
from app.db.tables import UNFINISHED_RESPONSE_STATES, StoredResponse, WorkStop
from app.errors import ApiError
from app.inference.endpoints import CHAT_COMPLETIONS_PATH, ENDPOINTS
from app.inference.engines import EngineClient
from app.inference.unattended_requests import EngineFailures, UnattendedRequests
from app.models import registry
from app.models.registry import ModelTask, ResolvedModel
from app.monitoring.recorder import TrafficRecorder
from app.responses import background
from app.responses.answers import ResponseAnswer
from app.responses.chat_request import translate_error
from app.responses.relay import UNREADABLE
from app.responses.serializers import ResponseDict
from app.settings import Settings
from app.work import leases, lists
from app.work.kinds import ItemResult, LeaseLost, ListClaim, PlannedRange, RangeClaim

ENDPOINT = ENDPOINTS[CHAT_COMPLETIONS_PATH]
STOP_MESSAGES = {
    WorkStop.EXPIRED: "The response was not made within 24 hours.",
    WorkStop.FAILED: "The response could not be made. Please retry.",
}


class ResponseRange:
    """The request of one response."""

    indexes: Sequence[int] = (0,)

    def __init__(
        self,
        requests: UnattendedRequests,
        model: ResolvedModel | ApiError,
        response_id: str,
        engine_request: bytes,
    ) -> None:
        self._requests = requests
        self._model = model
        self._response_id = response_id
        self._engine_request = engine_request

    async def run(self, index: int, tries: int) -> ItemResult:
        body = orjson.loads(self._engine_request)
        answer = await self._requests.answer(
            self._response_id, self._model, ENDPOINT, body, ids.request_id()
        )
        return ItemResult(index, answer.status < 400, answer.body, {})


class ResponseWork:
    """The kind of work of responses: a `WorkKind`."""

    max_in_flight = 1

    def __init__(
        self,
        settings: Settings,
        sessions: SessionMaker,
        catalog: Catalog,
        engines: EngineClient,
        recorder: TrafficRecorder,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._catalog = catalog
        self._engines = engines
        self._recorder = recorder
        self._failures = EngineFailures()

    def plan(self, claim: ListClaim) -> None:
        """Not called: a response needs no planning, and its list is started when it is created."""
        with transaction(self._sessions) as session:
            leases.lock_list(session, claim)
            lists.start(session, claim.list_id, [PlannedRange(0, 1, {})])

    def open_range(self, claim: RangeClaim) -> ResponseRange:
        with transaction(self._sessions) as session:
            leases.lock_range(session, claim)
            row = background.lock(session, claim.list_id)
            if row is None or row.engine_request is None:
                raise LeaseLost
            background.begin(row)
            model, request = row.model, row.engine_request
        requests = UnattendedRequests(
            self._engines, self._recorder, claim.project_id, self._failures
        )
        resolved = self._resolve(claim.project_id, model)
        return ResponseRange(requests, resolved, claim.list_id, request)

    def close_range(self, claim: RangeClaim) -> None:
        with transaction(self._sessions) as session:
            leases.finish_range(session, claim)

    def finish(self, claim: ListClaim) -> None:
        with transaction(self._sessions) as session:
            leases.lock_list(session, claim)
            row = background.lock(session, claim.list_id)
            if row is not None and row.state in UNFINISHED_RESPONSE_STATES:
                results = leases.list_results(session, claim.list_id, 0, 1)
                response = self._build(row, claim, results[0] if results else None)
                background.end_answered(session, self._settings, row, response)
            lists.delete_list(session, claim.list_id)

    def give_up(self, claim: ListClaim, message: str) -> None:
        with transaction(self._sessions) as session:
            leases.lock_list(session, claim)
            row = background.lock(session, claim.list_id)
            if row is not None and row.state in UNFINISHED_RESPONSE_STATES:
                background.end(session, row, background.fail(orjson.loads(row.body), message))
            lists.delete_list(session, claim.list_id)

    def _build(
        self, row: StoredResponse, claim: ListClaim, result: ItemResult | None
    ) -> ResponseDict:
        response: ResponseDict = orjson.loads(row.body)
        if result is None:
            reason = claim.stop_reason or WorkStop.FAILED
            return background.fail(response, STOP_MESSAGES.get(reason, reason))
        if not result.is_success:
            error = orjson.loads(translate_error(result.body))["error"]
            return background.fail(response, error["message"], code=_error_code(error))
        answer = ResponseAnswer(response)
        try:
            answer.write_whole(orjson.loads(result.body))
        except UNREADABLE:
            answer.fail("The model's engine failed.")
        return answer.response

    def _resolve(self, project_id: str, name: str) -> ResolvedModel | ApiError:
        """Find the model; its error if it was deleted meanwhile."""
        try:
            with transaction(self._sessions) as session:
                return registry.resolve(
                    session, self._catalog, project_id, name, task=ModelTask.CHAT
                )
        except ApiError as error:
            return error


def _error_code(error: dict[str, Any]) -> str:
    """OpenAI's codes of a response's error: the prompt was at fault, or the server."""
    is_clients = error.get("type") == "invalid_request_error"
    return "invalid_prompt" if is_clients else "server_error"
