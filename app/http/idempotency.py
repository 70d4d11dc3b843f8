"""Idempotency: a retried request gets the stored response of its first attempt.

A client names a request with an `Idempotency-Key`, which is honoured for 24 hours. The official
SDKs send none, but count their attempts (`x-stainless-retry-count`): a later attempt of a request
that was answered a few minutes ago is the same request.

A router opts in with its route class and one dependency per route:

    router = APIRouter(prefix="/v1/things", route_class=IdempotentRoute)

    @router.post("", dependencies=[IDEMPOTENT])
    @router.post("/{thing_id}/stop", dependencies=[IDEMPOTENT_BY_KEY])

`IDEMPOTENT` is for requests that create something. `IDEMPOTENT_BY_KEY` is for actions that are
harmless when repeated, and honours only the key: without one, a later attempt may well be the
first to arrive of a new request, such as pausing again a job that was resumed in between.

The response is stored in the transaction of the work it reports, so the route must use
`SessionDep`; only successes are stored. A route whose body is a stream, which cannot be read twice,
takes `IdempotencyDep` instead and calls its `begin` and `finish` once it has the body's digest, as
`POST /v1/files` does. Not for responses that contain a key, of which the database has only a hash.

A secret that the database has elsewhere is not stored with a response: `idempotent_except` takes
the field's name, and a function that finds the secret again for a replay.
"""

import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import IdempotencyRecord
from app.errors import InvalidRequest
from app.http.dependencies import OwnerIdDep, SessionDep
from app.http.strict_json import StrictRoute

RETENTION = timedelta(hours=24)
# An SDK gives up long before. Later, the same body is a new request.
SDK_RETRY_WINDOW = timedelta(minutes=15)
MAX_KEY_LENGTH = 255
# Stripe's header on a replayed response.
REPLAYED_HEADERS = {"Idempotent-Replayed": "true"}


@dataclass(frozen=True, slots=True)
class SecretField:
    """A field of a response that is replaced by a hint before the response is stored.

    `hint` is another field of the response. `find` finds the secret for a replayed response; it
    returns None if it has been replaced or deleted since.
    """

    name: str
    hint: str
    find: Callable[[Session, str, dict[str, Any]], str | None]


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """Status and JSON body of a response."""

    status: int
    body: Any


class ReplayResponse(Exception):
    """An earlier attempt was answered. `IdempotentRoute` responds with the stored response."""

    def __init__(self, response: StoredResponse) -> None:
        super().__init__("This request was answered before")
        self.response = response


@dataclass(frozen=True, slots=True)
class RequestAttempt:
    """One attempt of a request. `key` is the client's; `retry_count` counts attempts from 0.

    `owner_id` is the project, or the organization of an admin key; keys are scoped to it.
    """

    owner_id: str
    request_sha256: str
    key: str | None
    retry_count: int

    @property
    def stored_key(self) -> str:
        # A client cannot send this key: header values contain no line feeds.
        return self.key if self.key is not None else f"\n{self.request_sha256}"


def _find_stored_response(session: Session, attempt: RequestAttempt) -> StoredResponse | None:
    """Find the response to an earlier attempt; None if this is the first to arrive.

    Attempts of one request are serialized by an advisory lock until their transactions end. Raises
    InvalidRequest if the key was used with a different request.
    """
    name = f"{attempt.owner_id}\n{attempt.stored_key}"
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    window = RETENTION if attempt.key is not None else SDK_RETRY_WINDOW
    record = session.scalars(
        select(IdempotencyRecord).where(
            IdempotencyRecord.owner_id == attempt.owner_id,
            IdempotencyRecord.key == attempt.stored_key,
            IdempotencyRecord.created_at > clock.subtract_from_now(window),
        )
    ).one_or_none()
    if record is None or (attempt.key is None and attempt.retry_count == 0):
        return None
    if record.request_sha256 != attempt.request_sha256:
        raise InvalidRequest(
            "This Idempotency-Key was already used with a different request. Use a new key for "
            "each request, and reuse a key only to retry the same request to the same URL.",
            param="Idempotency-Key",
            code="idempotency_key_reused",
        )
    return StoredResponse(record.response_status, record.response_body)


def _store_response(session: Session, attempt: RequestAttempt, response: StoredResponse) -> None:
    """Store the response for later attempts, in the transaction of the work it reports."""
    row = insert(IdempotencyRecord).values(
        owner_id=attempt.owner_id,
        key=attempt.stored_key,
        request_sha256=attempt.request_sha256,
        response_status=response.status,
        response_body=response.body,
    )
    newest = {
        "request_sha256": row.excluded.request_sha256,
        "response_status": row.excluded.response_status,
        "response_body": row.excluded.response_body,
        "created_at": func.clock_timestamp(),
    }
    key_columns = [IdempotencyRecord.owner_id, IdempotencyRecord.key]
    session.execute(row.on_conflict_do_update(index_elements=key_columns, set_=newest))


def delete_expired(session: Session, *, hours: float = 24) -> None:
    """Delete records that are too old to be replayed, or older than `hours`."""
    limit = timedelta(hours=hours)
    derived = IdempotencyRecord.key.startswith("\n")
    expired = or_(
        _is_older(min(limit, RETENTION)), and_(derived, _is_older(min(limit, SDK_RETRY_WINDOW)))
    )
    session.execute(delete(IdempotencyRecord).where(expired))


def _is_older(age: timedelta) -> ColumnElement[bool]:
    return IdempotencyRecord.created_at < clock.subtract_from_now(age)


class Idempotency:
    """Idempotency of one request: `begin` and `finish` it in the transaction of its work."""

    def __init__(self, owner_id: str, route: str, *, key: str | None, retry_count: int) -> None:
        """Raises InvalidRequest for an invalid key."""
        if key is not None and not 0 < len(key) <= MAX_KEY_LENGTH:
            raise InvalidRequest(
                f"The header Idempotency-Key must have 1 to {MAX_KEY_LENGTH} characters.",
                param="Idempotency-Key",
            )
        self.has_key = key is not None
        self._owner_id = owner_id
        self._route = route
        self._key = key
        self._retry_count = retry_count
        self.secret_field: SecretField | None = None
        self._begun: tuple[Session, RequestAttempt] | None = None

    def is_begun(self) -> bool:
        """The request is the first attempt, and its response is not stored yet."""
        return self._begun is not None

    def begin(self, session: Session, content: bytes) -> StoredResponse | None:
        """Begin an attempt with this content (the body, or a digest of it).

        Returns the response to an earlier attempt, or None if this is the first: the caller then
        does the work and calls `finish` in the same transaction. Raises InvalidRequest if the key
        was used with a different request.
        """
        digest = hashlib.sha256(f"{self._route}\n".encode() + content).hexdigest()
        attempt = RequestAttempt(self._owner_id, digest, self._key, self._retry_count)
        stored = _find_stored_response(session, attempt)
        if stored is None:
            self._begun = session, attempt
            return None
        return self._with_secret(session, stored)

    def finish(self, response: StoredResponse) -> None:
        """Store the response for later attempts."""
        assert self._begun is not None
        session, attempt = self._begun
        _store_response(session, attempt, self._without_secret(response))
        self._begun = None

    def _without_secret(self, response: StoredResponse) -> StoredResponse:
        field = self.secret_field
        if field is None:
            return response
        return replace(response, body={**response.body, field.name: response.body[field.hint]})

    def _with_secret(self, session: Session, stored: StoredResponse) -> StoredResponse:
        field = self.secret_field
        secret = field and field.find(session, self._owner_id, stored.body)
        if field is None or secret is None:
            return stored
        return replace(stored, body={**stored.body, field.name: secret})


class IdempotentRoute(StrictRoute):
    """Route that stores its endpoint's response once a dependency has begun an attempt, and replays
    it to later attempts."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_once(request: Request) -> Response:
            try:
                response = await handle(request)
            except ReplayResponse as replay:
                stored = replay.response
                return JSONResponse(
                    stored.body, status_code=stored.status, headers=REPLAYED_HEADERS
                )
            idempotency: Idempotency | None = getattr(request.state, "idempotency", None)
            if idempotency is not None and idempotency.is_begun():
                # The request's session is still open: it commits when this has returned.
                content = orjson.loads(bytes(response.body))
                stored = StoredResponse(response.status_code, content)
                await to_thread.run_sync(idempotency.finish, stored)
            return response

        return handle_once


def _get_idempotency(
    request: Request,
    owner_id: OwnerIdDep,
    idempotency_key: Annotated[str | None, Header()] = None,
    # Sent by the official SDKs. Any client may send anything here, so it is never an error.
    x_stainless_retry_count: Annotated[str, Header(include_in_schema=False)] = "0",
) -> Idempotency:
    count = x_stainless_retry_count
    request.state.idempotency = idempotency = Idempotency(
        owner_id,
        f"{request.method} {request.url.path}?{request.url.query}",
        key=idempotency_key,
        retry_count=int(count[:4]) if count.isdecimal() else 0,
    )
    return idempotency


IdempotencyDep = Annotated[Idempotency, Depends(_get_idempotency)]


async def _get_body(request: Request) -> bytes:
    # Bounded by the middleware, and read by FastAPI already wherever there is a body.
    return await request.body()


BodyDep = Annotated[bytes, Depends(_get_body)]


def _replay_or_begin(idempotency: IdempotencyDep, body: BodyDep, session: SessionDep) -> None:
    if (stored := idempotency.begin(session, body)) is not None:
        raise ReplayResponse(stored)


def _replay_or_begin_by_key(
    idempotency: IdempotencyDep, body: BodyDep, session: SessionDep
) -> None:
    if idempotency.has_key:
        _replay_or_begin(idempotency, body, session)


IDEMPOTENT = Depends(_replay_or_begin)
IDEMPOTENT_BY_KEY = Depends(_replay_or_begin_by_key)


def idempotent_except(secret: SecretField) -> Any:
    """As `IDEMPOTENT`, for a response with a secret that must not be stored with it."""

    def replay_or_begin(idempotency: IdempotencyDep, body: BodyDep, session: SessionDep) -> None:
        idempotency.secret_field = secret
        _replay_or_begin(idempotency, body, session)

    return Depends(replay_or_begin)
