"""Preparation of a response: reads of the database, and the requests to engines."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from time import time
from typing import Any

from sqlalchemy.orm import Session

from app import ids
from app.conversations import service as conversations
from app.errors import InvalidRequest, NotFound
from app.http.dependencies import AppState, run_autocommit
from app.responses import context, service
from app.responses.chat_request import build_chat_body
from app.responses.schemas import CreateResponse
from app.responses.serializers import ResponseDict, new_response
from app.settings import Settings
from app.wire.items import ItemDict, ItemReference


@dataclass(frozen=True, slots=True)
class PreparedResponse:
    """A response to come: `items` are those of its request, the engine's has all before them."""

    response: ResponseDict
    items: list[ItemDict]
    engine_request: dict[str, Any]
    is_stored: bool
    conversation_id: str | None

    @property
    def is_kept(self) -> bool:
        return self.is_stored or self.conversation_id is not None


async def prepare(
    state: AppState, project_id: str, request: CreateResponse, model: str
) -> PreparedResponse:
    """Raises InvalidRequest, StorageQuotaExceeded."""
    settings = state.settings
    response_id = ids.response_id()
    is_stored = request.store is not False and settings.stored_completions
    _check_storage(request, settings)
    has_references = any(isinstance(item, ItemReference) for item in request.input or ())
    if is_stored or has_references or request.previous_response_id or request.conversation:
        read = partial(
            _read,
            settings=settings,
            project_id=project_id,
            request=request,
            response_id=response_id,
            is_stored=is_stored,
        )
        previous, items = await run_autocommit(state, read)
    else:
        previous, items = [], context.describe_items(request.input or (), {}, response_id)
    whole = [*previous, *items]
    context.check_number(whole)
    created_at = int(time())
    return PreparedResponse(
        response=new_response(
            request, response_id, model=model, created_at=created_at, is_stored=is_stored
        ),
        items=items,
        engine_request=build_chat_body(request, whole, model),
        is_stored=is_stored,
        conversation_id=request.conversation,
    )


def keep(
    session: Session,
    settings: Settings,
    project_id: str,
    prepared: PreparedResponse,
    response: ResponseDict,
) -> None:
    """Store a response, and add it to its conversation. Raises InvalidRequest and NotFound."""
    if prepared.is_stored:
        service.save(session, project_id, response, prepared.items)
    if prepared.conversation_id is not None and response["status"] != "failed":
        items = [*prepared.items, *response["output"]]
        keep_in_conversation(session, settings, project_id, prepared.conversation_id, items)


def keep_in_conversation(
    session: Session,
    settings: Settings,
    project_id: str,
    conversation_id: str,
    items: Sequence[ItemDict],
) -> None:
    """Add items to a conversation. Raises InvalidRequest and NotFound."""
    conversation = conversations.get(session, project_id, conversation_id, lock=True)
    conversations.append(session, settings, conversation, items)


def _check_storage(request: CreateResponse, settings: Settings) -> None:
    if request.store and not settings.stored_completions:
        raise InvalidRequest(
            "Responses cannot be stored: the operator of this server has turned it off "
            "(LUTHIER_STORED_COMPLETIONS=false). Send the request without 'store', or with "
            "'store': false.",
            param="store",
        )
    if request.background and (request.store is False or not settings.stored_completions):
        raise InvalidRequest(
            "A response in the background has to be stored: leave out 'store': false. If the "
            "operator of this server has turned off storing, use 'stream' instead.",
            param="background",
        )
    if request.previous_response_id is not None and not settings.stored_completions:
        raise InvalidRequest(
            "Previous responses cannot be used: the operator of this server has turned off storing "
            "them. Send the earlier items in 'input'.",
            param="previous_response_id",
        )


def _read(
    session: Session,
    *,
    settings: Settings,
    project_id: str,
    request: CreateResponse,
    response_id: str,
    is_stored: bool,
) -> tuple[list[ItemDict], list[ItemDict]]:
    """The items before the request, and its own."""
    sent = request.input or []
    items = context.describe_input(session, settings, project_id, sent, response_id)
    previous: list[ItemDict] = []
    if request.conversation is not None:
        previous = _read_conversation(session, project_id, request.conversation)
    if request.previous_response_id is not None:
        previous = context.list_previous(
            session, settings, project_id, request.previous_response_id
        )
    if previous or any(isinstance(item, ItemReference) for item in sent):
        # Before anything is made of them all. What a request itself has is bounded already.
        context.check_size(settings, [*previous, *items])
    if is_stored:
        service.check_room(session, settings, project_id, size=service.size_of(items))
    return previous, items


def _read_conversation(session: Session, project_id: str, conversation_id: str) -> list[ItemDict]:
    try:
        conversation = conversations.get(session, project_id, conversation_id)
    except NotFound as error:
        raise NotFound(error.message, param="conversation") from error
    return conversations.list_context(session, conversation)
