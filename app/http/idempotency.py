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
from app.http.dependencies import OwnerDep, SessionDep
from app.http.stored_responses import Answer, Try
from app.http.strict_json import StrictRoute

# As Stripe says it of an answer that was kept.
REPLAYED = {"Idempotent-Replayed": "true"}


@dataclass(frozen=True, slots=True)
class Repetition:
    """What a request's headers say of its being a repeated one."""

    owner: str
    route: str
    key: str | None
    number: int

    def of(self, body: bytes) -> Try:
        """A try with this body, or with what stands for it. Raises InvalidRequest for a bad key."""
        return stored_responses.make_try(
            self.owner, self.route, body, key=self.key, number=self.number
        )


class Answered(Exception):
    """An earlier try was answered. Raised by dependencies, so that the endpoint does not run."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("This request was answered before")
        self.answer = answer


@dataclass(slots=True)
class Pending:
    """The try that is being answered, and the transaction that it is answered in."""

    this: Try | None = None
    session: Session | None = None


class RepeatableRoute(StrictRoute):
    """Keeps what its endpoint answers, if a dependency has found a try to keep it for."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def once(request: Request) -> Response:
            request.state.pending = pending = Pending()
            try:
                response = await handle(request)
            except Answered as earlier:
                return replay(earlier.answer)
            if pending.this is not None:
                # The session of the request is still open: it commits when this has returned.
                await to_thread.run_sync(_remember, pending, response)
            return response

        return once


def replay(answer: Answer) -> JSONResponse:
    return JSONResponse(answer.body, status_code=answer.status, headers=REPLAYED)


def _remember(pending: Pending, response: Response) -> None:
    assert pending.session is not None
    assert pending.this is not None
    answer = Answer(response.status_code, orjson.loads(bytes(response.body)))
    stored_responses.remember(pending.session, pending.this, answer)


def _repetition(
    request: Request,
    owner: OwnerDep,
    idempotency_key: Annotated[str | None, Header()] = None,
    # Sent by the official SDKs. Anybody may send anything here, so it is no error.
    x_stainless_retry_count: Annotated[str, Header(include_in_schema=False)] = "0",
) -> Repetition:
    number = int(x_stainless_retry_count[:4]) if x_stainless_retry_count.isdecimal() else 0
    route = f"{request.method} {request.url.path}?{request.url.query}"
    return Repetition(owner, route, idempotency_key, number)


RepetitionDep = Annotated[Repetition, Depends(_repetition)]


async def _try(request: Request, repetition: RepetitionDep) -> Try:
    # Bounded by the guard, and read by FastAPI already wherever there is a body.
    return repetition.of(await request.body())


TryDep = Annotated[Try, Depends(_try)]


def _once(request: Request, this: TryDep, session: SessionDep) -> None:
    if (answer := stored_responses.answered(session, this)) is not None:
        raise Answered(answer)
    request.state.pending.this = this
    request.state.pending.session = session


def _once_by_key(request: Request, this: TryDep, session: SessionDep) -> None:
    if this.key is not None:
        _once(request, this, session)


ONCE = Depends(_once)
ONCE_BY_KEY = Depends(_once_by_key)
