"""Events of a response from what is stored of it: one that is made in the background, or that an
earlier attempt of a request was answered with.

The same at each time, so that a client can go on behind the last one that it got: the text of an
item is one event, as its tokens are not stored while they are made.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from anyio import sleep

from app.db.session import DatabaseUnavailable
from app.db.tables import UNFINISHED_RESPONSE_STATES, ResponseState
from app.errors import ApiError, ServiceUnavailable
from app.responses.answers import ResponseAnswer, to_sse
from app.responses.output import Event
from app.responses.serializers import ResponseDict

POLL_SECONDS = 0.5
# Of what a response has before it is made.
UNMADE: Mapping[str, Any] = {
    "output": [],
    "usage": None,
    "error": None,
    "incomplete_details": None,
    "completed_at": None,
}


async def stream(
    read: Callable[[], Awaitable[ResponseDict]],
    read_state: Callable[[], Awaitable[ResponseState]],
    *,
    starting_after: int | None,
) -> AsyncIterator[bytes]:
    """Events behind a number, or all. Waits until the response is finished.

    What happens meanwhile, such as its deletion, is an event too: the status is sent already.
    """
    next_number = 0 if starting_after is None else starting_after + 1
    try:
        async with aclosing(_follow(read, read_state)) as events:
            async for event in events:
                if event["sequence_number"] >= next_number:
                    next_number = event["sequence_number"] + 1
                    yield to_sse(iter([event]))
    except ApiError as error:
        yield to_sse(iter([_error_event(error, next_number)]))
    except DatabaseUnavailable:
        unavailable = ServiceUnavailable("The database is unavailable. Please retry in a moment.")
        yield to_sse(iter([_error_event(unavailable, next_number)]))


def repeat(response: ResponseDict) -> bytes:
    """All events of a response that has ended and was not made in the background."""
    answer = ResponseAnswer({**response, **UNMADE, "status": "in_progress"})
    events = [*answer.begin(), *answer.write_items(response["output"])]
    answer.response = response
    return to_sse(iter([*events, answer.last_event()]))


async def _follow(
    read: Callable[[], Awaitable[ResponseDict]],
    read_state: Callable[[], Awaitable[ResponseState]],
) -> AsyncGenerator[Event, None]:
    """All events. The response, which may be large, is read at its start and at its end only."""
    response = await read()
    state = response["status"]
    created, queued, in_progress = _first_events(response)
    yield created
    yield queued
    while state == ResponseState.QUEUED:
        await sleep(POLL_SECONDS)
        state = await read_state()
    yield in_progress
    while state in UNFINISHED_RESPONSE_STATES:
        await sleep(POLL_SECONDS)
        state = await read_state()
    for event in _events_of(await read()):
        yield event


def _error_event(error: ApiError, number: int) -> Event:
    return {
        "type": "error",
        "code": error.error_code or type(error).type,
        "message": error.message,
        "param": error.error_param,
        "sequence_number": number,
    }


def _first_events(response: ResponseDict) -> Iterator[Event]:
    for number, (kind, status) in enumerate(
        (("created", "queued"), ("queued", "queued"), ("in_progress", "in_progress"))
    ):
        state = {**response, **UNMADE, "status": status}
        yield {"type": f"response.{kind}", "response": state, "sequence_number": number}


def _events_of(response: ResponseDict) -> Iterator[Event]:
    """The events of the items and of the end, numbered behind the first ones."""
    answer = ResponseAnswer({**response, **UNMADE}, first_number=3)
    yield from answer.write_items(response["output"])
    answer.response = response
    yield answer.last_event()
