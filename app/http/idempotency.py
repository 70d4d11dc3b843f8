"""Requests that may come again: their first answer is kept and given again.

A router opts in with its route class and one line a route:

    router = APIRouter(prefix="/v1/things", route_class=RepeatableRoute)

    @router.post("", dependencies=[ONCE])
    @router.post("/{thing_id}/stop", dependencies=[ONCE_BY_KEY])

`ONCE` is for what makes something. It heeds the client's `Idempotency-Key` for 24 hours and, where
there is none, a later try of an official SDK for minutes. `ONCE_BY_KEY` is for what is harmless
when repeated, and heeds the key alone: without one, a later try may well be the first that arrives
of a new wish, such as pausing a job again that went on in between.

The answer is kept in the transaction of what it tells of, so the route must use `SessionDep`; only
successes are kept. A route that streams its body in cannot have it read twice: it takes
`RepetitionDep` and asks `app.http.stored_responses` itself once it has the body's digest, as
`app/files/routes.py` does. Not for answers that hold a key, of which the database has a hash only.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from app.http import stored_responses
from app.http.dependencies import OwnerIdDep, SessionDep
from app.http.stored_responses import RequestAttempt, StoredResponse
from app.http.strict_json import StrictRoute

# As Stripe says it of an answer that was kept.
REPLAYED_HEADERS = {"Idempotent-Replayed": "true"}


@dataclass(frozen=True, slots=True)
class IdempotencyContext:
    """What a request's headers say of its being a repeated one."""

    owner_id: str
    route: str
    key: str | None
    retry_count: int

    def new_attempt(self, body: bytes) -> RequestAttempt:
        """A try with this body, or with what stands for it. Raises InvalidRequest for a bad key."""
        return stored_responses.new_attempt(
            self.owner_id, self.route, body, key=self.key, retry_count=self.retry_count
        )


class ReplayResponse(Exception):
    """An earlier try was answered. Raised by dependencies, so that the endpoint does not run."""

    def __init__(self, answer: StoredResponse) -> None:
        super().__init__("This request was answered before")
        self.response = answer


@dataclass(slots=True)
class PendingResponse:
    """The try that is being answered, and the transaction that it is answered in."""

    attempt: RequestAttempt | None = None
    session: Session | None = None


class IdempotentRoute(StrictRoute):
    """Keeps what its endpoint answers, if a dependency has found a try to keep it for."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def once(request: Request) -> Response:
            request.state.pending = pending = PendingResponse()
            try:
                response = await handle(request)
            except ReplayResponse as earlier:
                return replay_response(earlier.response)
            if pending.attempt is not None:
                # The session of the request is still open: it commits when this has returned.
                await to_thread.run_sync(_store_response, pending, response)
            return response

        return once


def replay_response(answer: StoredResponse) -> JSONResponse:
    return JSONResponse(answer.body, status_code=answer.status, headers=REPLAYED_HEADERS)


def _store_response(pending: PendingResponse, response: Response) -> None:
    assert pending.session is not None
    assert pending.attempt is not None
    answer = StoredResponse(response.status_code, orjson.loads(bytes(response.body)))
    stored_responses.store_response(pending.session, pending.attempt, answer)


def _get_idempotency_context(
    request: Request,
    owner: OwnerIdDep,
    idempotency_key: Annotated[str | None, Header()] = None,
    # Sent by the official SDKs. Anybody may send anything here, so it is no error.
    x_stainless_retry_count: Annotated[str, Header(include_in_schema=False)] = "0",
) -> IdempotencyContext:
    number = int(x_stainless_retry_count[:4]) if x_stainless_retry_count.isdecimal() else 0
    route = f"{request.method} {request.url.path}?{request.url.query}"
    return IdempotencyContext(owner, route, idempotency_key, number)


IdempotencyDep = Annotated[IdempotencyContext, Depends(_get_idempotency_context)]


async def _get_attempt(request: Request, repetition: IdempotencyDep) -> RequestAttempt:
    # Bounded by the guard, and read by FastAPI already wherever there is a body.
    return repetition.new_attempt(await request.body())


AttemptDep = Annotated[RequestAttempt, Depends(_get_attempt)]


def _replay_or_begin(request: Request, this: AttemptDep, session: SessionDep) -> None:
    if (answer := stored_responses.find_stored_response(session, this)) is not None:
        raise ReplayResponse(answer)
    request.state.pending.attempt = this
    request.state.pending.session = session


def _replay_or_begin_by_key(request: Request, this: AttemptDep, session: SessionDep) -> None:
    if this.key is not None:
        _replay_or_begin(request, this, session)


IDEMPOTENT = Depends(_replay_or_begin)
IDEMPOTENT_BY_KEY = Depends(_replay_or_begin_by_key)
