"""Events of a response that is made in the background, from what is stored of it.

The same at each time, so that a client can go on behind the last one that it got: the text of an
item is one event, as its tokens are not stored while they are made.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

from anyio import sleep

from app.responses.answers import ResponseAnswer, to_sse
from app.responses.output import Event
from app.responses.serializers import ResponseDict

POLL_SECONDS = 0.5
UNFINISHED = ("queued", "in_progress")
# Of what a response has before it is made.
UNMADE: Mapping[str, Any] = {
    "output": [],
    "usage": None,
    "error": None,
    "incomplete_details": None,
    "completed_at": None,
}


async def stream(
    read: Callable[[], Awaitable[ResponseDict]], *, starting_after: int | None
) -> AsyncIterator[bytes]:
    """Events behind a number, or all. Waits until the response is finished."""
    after = -1 if starting_after is None else starting_after
    response = await read()
    sent = 0
    begun = list(_first_events(response))
    while True:
        events = begun if response["status"] != "queued" else begun[:2]
        if new := [each for each in events[sent:] if each["sequence_number"] > after]:
            yield to_sse(iter(new))
        sent = len(events)
        if response["status"] not in UNFINISHED:
            break
        await sleep(POLL_SECONDS)
        response = await read()
    for event in _events_of(response):
        if event["sequence_number"] > max(after, len(begun) - 1):
            yield to_sse(iter([event]))


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
