"""Responses in the background: created, cancelled, and ended once, as lists of a single item."""

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import (
    UNFINISHED_RESPONSE_STATES,
    ResponseState,
    StoredResponse,
    UsageKind,
    WorkList,
    WorkStop,
)
from app.errors import ApiError, InvalidRequest, RateLimited
from app.responses import service
from app.responses.preparation import PreparedResponse, keep_in_conversation
from app.responses.serializers import ResponseDict
from app.settings import Settings
from app.usage import ledger
from app.webhooks import deliveries
from app.work import lists
from app.work.kinds import PlannedRange

KIND = "response"
WINDOW_SECONDS = 24 * 3600
# Of one project, so that what it has waiting is bounded.
MAX_OPEN_RESPONSES = 100
TEXTS = (StoredResponse.input, StoredResponse.body, StoredResponse.engine_request)


class TooManyOpenResponses(RateLimited):
    """This project has too many unfinished responses. Retry when one has ended, or cancel one."""

    # The official SDKs retry for seconds only; a response takes longer to end.
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60", "x-should-retry": "false"}


def create(
    session: Session, project_id: str, prepared: PreparedResponse, *, api_key_id: str
) -> None:
    """Store a response that is to be made, and have it made. Raises TooManyOpenResponses."""
    _check_open_responses(session, project_id)
    row = service.save(session, project_id, prepared.response, prepared.items)
    row.is_background, row.api_key_id = True, api_key_id
    row.engine_request = orjson.dumps(prepared.engine_request)
    row.bytes += len(row.engine_request)
    session.flush()
    expires_at = clock.seconds_from_now(WINDOW_SECONDS)
    lists.create(session, row.id, kind=KIND, project_id=project_id, expires_at=expires_at)
    lists.start(session, row.id, [PlannedRange(0, 1, {})])


def _check_open_responses(session: Session, project_id: str) -> None:
    # Serializes the project's creations, so that two do not both find room for one.
    name = f"background responses\n{project_id}"
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    # Their lists, which are few, and not among all responses that are stored. Cancelled ones end
    # by themselves.
    is_open = (
        WorkList.project_id == project_id,
        WorkList.kind == KIND,
        WorkList.stop_reason.is_(None),
    )
    rows = select(WorkList.id).where(*is_open).limit(MAX_OPEN_RESPONSES).subquery()
    if (session.scalar(select(func.count()).select_from(rows)) or 0) >= MAX_OPEN_RESPONSES:
        raise TooManyOpenResponses(
            f"This project already has its maximum of {MAX_OPEN_RESPONSES} unfinished responses in "
            "the background. Try again when one has ended, or cancel one."
        )


def cancel(session: Session, project_id: str, response_id: str) -> StoredResponse:
    """Cancel a response that is not finished; one that is, is returned as it is.

    Raises NotFound, and InvalidRequest for a response that was not made in the background.
    """
    row = service.get(session, project_id, response_id)
    if not row.is_background:
        raise InvalidRequest("Cannot cancel a synchronous response.", param="response_id")
    _stop(session, response_id)
    return service.get(session, project_id, response_id, StoredResponse.body)


def cancel_all(session: Session, project_id: str) -> None:
    """Cancel the unfinished responses of a project that is being archived."""
    unfinished = select(StoredResponse.id).where(
        StoredResponse.project_id == project_id,
        StoredResponse.state.in_(UNFINISHED_RESPONSE_STATES),
    )
    for response_id in session.scalars(unfinished.order_by(StoredResponse.id)).all():
        _stop(session, response_id)


def _stop(session: Session, response_id: str) -> None:
    # One whose answer is being stored already ends by itself.
    if lists.stop(session, response_id, WorkStop.CANCELLED):
        row = lock(session, response_id)
        if row is not None:
            end(session, row, orjson.loads(row.body) | {"status": "cancelled"})


def delete(session: Session, project_id: str, response_id: str) -> None:
    """Delete a response in any state. Raises NotFound."""
    row = service.get(session, project_id, response_id)
    if row.is_background and lists.lock(session, response_id) is not None:
        lists.delete_list(session, response_id)
    service.delete_response(session, project_id, response_id)


def lock(session: Session, response_id: str) -> StoredResponse | None:
    """Lock a response with its texts, after its list; None if it was deleted."""
    statement = select(StoredResponse).where(StoredResponse.id == response_id).with_for_update()
    row = session.scalars(statement.execution_options(populate_existing=True)).one_or_none()
    if row is not None:
        session.refresh(row, [text.key for text in TEXTS])
    return row


def begin(row: StoredResponse) -> None:
    """Note that a locked response is being made."""
    if row.state == ResponseState.QUEUED:
        row.state = ResponseState.IN_PROGRESS
        row.body = orjson.dumps(orjson.loads(row.body) | {"status": row.state})


def end(session: Session, row: StoredResponse, response: ResponseDict) -> None:
    """End a locked response, which needs its request no more."""
    row.state = ResponseState(response["status"])
    row.body, row.engine_request = orjson.dumps(response), None
    row.bytes = service.ROW_BYTES + len(row.body) + len(row.input)
    session.flush()
    deliveries.enqueue(session, row.project_id, f"response.{row.state}", row.id, clock.now(session))


def end_answered(
    session: Session, settings: Settings, row: StoredResponse, response: ResponseDict
) -> None:
    """End a locked response with its answer, whose usage is counted with it."""
    if response["usage"] is not None:
        key, counts = _usage_of(row, response["usage"])
        ledger.record(session, {key: counts})
    conversation = response["conversation"]
    if conversation is not None and response["status"] != "failed":
        items = [*orjson.loads(row.input), *response["output"]]
        try:
            with session.begin_nested():
                keep_in_conversation(session, settings, row.project_id, conversation["id"], items)
        except ApiError as error:
            response = fail(response, error.message)
    end(session, row, response)


def fail(response: ResponseDict, message: str, *, code: str = "server_error") -> ResponseDict:
    return response | {"status": "failed", "error": {"code": code, "message": message}}


def _usage_of(
    row: StoredResponse, usage: Mapping[str, Any]
) -> tuple[ledger.UsageKey, ledger.UsageCounts]:
    key = ledger.UsageKey(row.project_id, row.api_key_id or "", row.model, UsageKind.COMPLETIONS)
    cached = usage["input_tokens_details"]["cached_tokens"]
    return key, ledger.UsageCounts(1, usage["input_tokens"], cached, usage["output_tokens"])
