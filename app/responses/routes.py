"""Routes of /v1/responses."""

from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse
from sqlalchemy.orm import Session

from app.auth.principals import Principal
from app.db.tables import ResponseState, StoredResponse
from app.errors import InvalidRequest, ModelNotFound, ServiceUnavailable
from app.http import idempotency
from app.http.dependencies import (
    AfterCursor,
    AppState,
    AppStateDep,
    PrincipalDep,
    ReadSessionDep,
    SessionDep,
    run_autocommit,
    run_in_transaction,
)
from app.http.openapi import error_responses, json_or_sse
from app.http.strict_json import StrictRoute
from app.inference.dependencies import EnginesDep
from app.inference.endpoints import CHAT_COMPLETIONS_PATH
from app.inference.proxy import NO_BUFFERING_HEADERS, ProxyResponse, resolve_model
from app.models.registry import ModelTask
from app.monitoring.dependencies import RecorderDep
from app.responses import background, preparation, replay, schemas, service
from app.responses.input_tokens import count_input_tokens
from app.responses.preparation import PreparedResponse
from app.responses.relay import ResponseTranslator
from app.responses.schemas import (
    CountInputTokens,
    CreateResponse,
    Includable,
    InputItemList,
    InputTokens,
    ResponseDeleted,
)
from app.responses.serializers import ResponseDict

router = APIRouter(
    prefix="/v1/responses",
    tags=["responses"],
    route_class=StrictRoute,
    responses=error_responses(ModelNotFound),
)
ANSWERED_MEANWHILE = (
    "An earlier attempt of this request was answered while this one was. Its response is in the "
    "conversation, and this one is not; send the request again to get it."
)
Limit = Annotated[int, Query(ge=0, le=100)]
Include = Annotated[
    list[Includable] | None,
    Query(description="Accepted for compatibility; items have all their parts.", max_length=20),
]


@router.post("", responses=json_or_sse(schemas.Response, "response event"))
async def create_response(
    body: CreateResponse,
    state: AppStateDep,
    engines: EnginesDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
    attempt: idempotency.IdempotencyDep,
    content: idempotency.BodyDep,
) -> Response:
    """Answer text or items, as one response or as a stream of events."""
    project_id = principal.project_id
    model = await resolve_model(state, project_id, body.model, ModelTask.CHAT)
    # Equal turns of a conversation are requests of their own: only a key says that one is a retry.
    is_idempotent = body.conversation is not None and not body.background and attempt.has_key
    if is_idempotent:
        find = partial(attempt.begin, content=content)
        if (stored := await run_in_transaction(state, find)) is not None:
            return await _answer_again(state, project_id, stored.body, is_stream=body.stream)
    prepared = await preparation.prepare(state, project_id, body, model.name)
    if body.background:
        earlier = await _create_in_background(state, principal, prepared, attempt, content)
        response = prepared.response | earlier
        if body.stream:
            return _replay(state, project_id, response["id"], None)
        return _respond(response, idempotency.REPLAYED_HEADERS if earlier else None)

    def keep_unless_answered(session: Session, response: ResponseDict) -> None:
        if is_idempotent and attempt.begin(session, content) is not None:
            raise ServiceUnavailable(ANSWERED_MEANWHILE)
        preparation.keep(session, state.settings, project_id, prepared, response)
        if is_idempotent and response["status"] != "failed":
            own = {"id": response["id"]}
            # A stored one is read again: it may be deleted meanwhile. Others are kept as text: in
            # JSONB there is no NUL, which an answer may have.
            if not prepared.is_stored:
                own["json"] = orjson.dumps(response).decode()
            attempt.finish(idempotency.StoredResponse(HTTPStatus.OK, own))

    async def keep(response: ResponseDict) -> None:
        await run_in_transaction(state, partial(keep_unless_answered, response=response))

    translator = ResponseTranslator(prepared.response, keep if prepared.is_kept else None)
    return ProxyResponse(
        engines,
        recorder,
        model,
        CHAT_COMPLETIONS_PATH,
        prepared.engine_request,
        principal=principal,
        translator=translator,
    )


async def _answer_again(
    state: AppState, project_id: str, earlier: ResponseDict, *, is_stream: bool | None
) -> Response:
    """Answer with the response of an earlier attempt. Raises NotFound if it was deleted since."""
    content = earlier.get("json") or (await _read(state, project_id, earlier["id"])).body
    response = orjson.loads(content)
    if not is_stream:
        return _respond(response, idempotency.REPLAYED_HEADERS)
    headers = NO_BUFFERING_HEADERS | idempotency.REPLAYED_HEADERS
    return Response(replay.repeat(response), media_type="text/event-stream", headers=headers)


async def _create_in_background(
    state: AppState,
    principal: Principal,
    prepared: PreparedResponse,
    attempt: idempotency.Idempotency,
    content: bytes,
) -> ResponseDict:
    """Create a response once. Of one that an earlier attempt created, returns what it has of its
    own; otherwise nothing."""
    # As in `create_response`.
    is_idempotent = prepared.conversation_id is None or attempt.has_key

    def create(session: Session) -> ResponseDict:
        if is_idempotent and (stored := attempt.begin(session, content)) is not None:
            earlier: ResponseDict = stored.body
            return earlier
        background.create(session, principal.project_id, prepared, api_key_id=principal.key_id)
        if is_idempotent:
            # The rest follows from the request: its texts need not be stored again.
            own = {name: prepared.response[name] for name in ("id", "created_at")}
            attempt.finish(idempotency.StoredResponse(HTTPStatus.OK, own))
        return {}

    return await run_in_transaction(state, create)


@router.post("/input_tokens", responses={200: {"model": InputTokens}})
async def count_tokens(
    body: CountInputTokens, state: AppStateDep, engines: EnginesDep, principal: PrincipalDep
) -> Response:
    """Count the tokens of what a model would be given, by having its engine read them."""
    project_id = principal.project_id
    model = await resolve_model(state, project_id, body.model, ModelTask.CHAT)
    prepared = await preparation.prepare(state, project_id, body.to_request(), model.name)
    status, content = await count_input_tokens(engines, model, prepared.engine_request, project_id)
    return Response(content, status, media_type="application/json")


@router.get("/{response_id}", responses=json_or_sse(schemas.Response, "response event"))
async def retrieve_response(
    response_id: str,
    state: AppStateDep,
    principal: PrincipalDep,
    stream: bool = False,
    starting_after: Annotated[int | None, Query(ge=0, le=2**53)] = None,
    include: Include = None,
    include_obfuscation: bool = False,
) -> Response:
    """Get a stored response. Of one in the background, its events with `stream`."""
    row = await _read(state, principal.project_id, response_id)
    if not stream:
        return Response(row.body, media_type="application/json")
    if not row.is_background:
        raise InvalidRequest(
            "This response cannot be streamed: it was not created with 'background': true.",
            param="stream",
        )
    return _replay(state, principal.project_id, response_id, starting_after)


async def _read(state: AppState, project_id: str, response_id: str) -> StoredResponse:
    return await run_autocommit(
        state,
        lambda session: service.get(session, project_id, response_id, StoredResponse.body),
    )


def _replay(
    state: AppState, project_id: str, response_id: str, starting_after: int | None
) -> Response:
    async def read() -> ResponseDict:
        row = await _read(state, project_id, response_id)
        response: ResponseDict = orjson.loads(row.body)
        return response

    async def read_state() -> ResponseState:
        return await run_autocommit(
            state, lambda session: service.get(session, project_id, response_id).state
        )

    events = replay.stream(read, read_state, starting_after=starting_after)
    return StreamingResponse(events, media_type="text/event-stream", headers=NO_BUFFERING_HEADERS)


@router.post("/{response_id}/cancel", responses={200: {"model": schemas.Response}})
def cancel_response(response_id: str, principal: PrincipalDep, session: SessionDep) -> Response:
    """Cancel a response in the background. One that is finished is returned as it is."""
    row = background.cancel(session, principal.project_id, response_id)
    return Response(row.body, media_type="application/json")


@router.delete("/{response_id}")
def delete_response(
    response_id: str, principal: PrincipalDep, session: SessionDep
) -> ResponseDeleted:
    """Delete a stored response. Those after it cannot be continued any more."""
    background.delete(session, principal.project_id, response_id)
    return ResponseDeleted(id=response_id)


@router.get("/{response_id}/input_items", responses={200: {"model": InputItemList}})
def list_input_items(
    response_id: str,
    principal: PrincipalDep,
    session: ReadSessionDep,
    after: AfterCursor = None,
    limit: Limit = 20,
    order: Literal["asc", "desc"] = "desc",
    include: Include = None,
) -> Response:
    """List the items of a response's request, the last first by default."""
    row = service.get(session, principal.project_id, response_id, StoredResponse.input)
    page = service.list_input_items(row, order=order, after=after, limit=limit)
    return _respond(
        {
            "object": "list",
            "data": page.data,
            "first_id": page.data[0]["id"] if page.data else None,
            "last_id": page.data[-1]["id"] if page.data else None,
            "has_more": page.has_more,
        }
    )


def _respond(content: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), media_type="application/json", headers=headers)
