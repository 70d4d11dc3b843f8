"""Live updates of pages: each is rendered once, however many browsers show it.

A topic is one page of one project. While at least one browser shows it, its messages are rendered
anew when the feed behind /v1/changes reports that something of the project has changed, and those
that differ from the last time are sent to all. A browser that reads slowly skips to the newest
ones. None holds a database connection, and a project in which nothing happens costs next to none.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from fastapi import Request
from fastapi.responses import StreamingResponse

from app import logs
from app.auth import console_sessions
from app.changes.feed import ChangeFeed
from app.console.api_client import ApiCallError, ApiClient, MissingRole
from app.http.console_cookie import choose_session_cookie
from app.http.dependencies import AppState, run_autocommit

log = logs.get_logger(__name__)

# Between two renderings of a topic, however much changes.
MIN_INTERVAL_SECONDS = 0.4
MAX_INTERVAL_SECONDS = 5.0
# Also without a change: the health of the service and the admin's pages are in no project's feed.
IDLE_INTERVAL_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 15.0
# How often a browser's session is looked up; one that has ended gets no more updates.
SESSION_CHECK_SECONDS = 30.0
# That one session and one project have in this process: each takes memory, and rendering time.
MAX_TOPICS_PER_SESSION = 16
MAX_TOPICS_PER_PROJECT = 128
SESSION_ENDED = b"event: session-ended\ndata: \n\n"
KEEP_ALIVE = b": keep-alive\n\n"


@dataclass(frozen=True, slots=True)
class LiveMessage:
    """One part of a page. `id` names the part; a newer message replaces the one before.

    Without an `event`, `data` is HTML of `<hx-partial>` elements; with one, the page's scripts
    handle an event of this name.
    """

    id: str
    data: str
    event: str = ""

    def encode(self) -> bytes:
        """The message as a server-sent event (HTML Living Standard, section 9.2)."""
        name = f"event: {self.event}\n" if self.event else ""
        lines = "".join(f"data: {line}\n" for line in self.data.splitlines() or [""])
        return f"{name}{lines}\n".encode()


Source = Callable[[ApiClient], Awaitable[list[LiveMessage]]]


@dataclass(eq=False, slots=True)
class _Subscriber:
    api: ApiClient
    waiting: dict[str, bytes] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def push(self, key: str, encoded: bytes) -> None:
        self.waiting[key] = encoded
        self.wake.set()


@dataclass(eq=False, slots=True)
class _Topic:
    owner: str
    source: Source
    # The session that was the first to show it.
    session_id: str
    subscribers: list[_Subscriber] = field(default_factory=list)
    sent: dict[str, bytes] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None


# Owner, whether its browsers are admins' (they may be shown more), and the URL.
TopicKey = tuple[str, bool, str]


class LiveHub:
    """The topics of this process."""

    def __init__(self, feed: ChangeFeed) -> None:
        self._feed = feed
        self._topics: dict[TopicKey, _Topic] = {}

    def check_room(self, key: TopicKey, session_id: str) -> None:
        """Raise ApiCallError if the session or its project has too many topics for another."""
        if key in self._topics:
            return
        of_session = sum(topic.session_id == session_id for topic in self._topics.values())
        of_project = sum(other[0] == key[0] for other in self._topics)
        if of_session >= MAX_TOPICS_PER_SESSION or of_project >= MAX_TOPICS_PER_PROJECT:
            raise ApiCallError(429, {"message": "Too many different pages are open. Close some."})

    async def follow(self, key: TopicKey, source: Source, api: ApiClient) -> AsyncIterator[bytes]:
        """Yield encoded messages for one browser: the current ones, then each that changes."""
        topic = self._topics.setdefault(key, _Topic(key[0], source, api.identity.session_id))
        subscriber = _Subscriber(api, dict(topic.sent))
        subscriber.wake.set()
        topic.subscribers.append(subscriber)
        if topic.task is None:
            topic.task = asyncio.create_task(self._run(topic))
        try:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(subscriber.wake.wait(), KEEP_ALIVE_SECONDS)
                messages = subscriber.waiting or {"": KEEP_ALIVE}
                subscriber.waiting = {}
                subscriber.wake.clear()
                yield b"".join(messages.values())
        finally:
            topic.subscribers.remove(subscriber)
            if not topic.subscribers and topic.task is not None:
                topic.task.cancel()
                self._topics.pop(key, None)

    async def _run(self, topic: _Topic) -> None:
        with self._feed.subscribe(topic.owner) as subscription:
            while True:
                started_at = time.monotonic()
                await self._render(topic)
                elapsed = time.monotonic() - started_at
                # A rendering that takes long, on a busy machine, is repeated less often.
                pause = max(MIN_INTERVAL_SECONDS, min(4 * elapsed, MAX_INTERVAL_SECONDS))
                await asyncio.sleep(pause)
                await subscription.take(IDLE_INTERVAL_SECONDS)

    async def _render(self, topic: _Topic) -> None:
        # Any of them will do: all are members of the same project.
        api = topic.subscribers[0].api
        try:
            messages = await topic.source(api)
        except (ApiCallError, MissingRole) as error:
            messages = [LiveMessage("trouble", str(error), event="trouble")]
        except Exception:
            log.exception("console.live_update_failed")
            return
        for message in messages:
            encoded = message.encode()
            if topic.sent.get(message.id) == encoded:
                continue
            topic.sent[message.id] = encoded
            for subscriber in topic.subscribers:
                subscriber.push(message.id, encoded)


def respond(request: Request, api: ApiClient, source: Source) -> StreamingResponse:
    """Stream the updates of the topic that the request's URL names.

    `source` renders its messages, and depends on nothing but the URL and the project.
    """
    hub: LiveHub = request.app.state.live_hub
    principal = api.identity.principal
    owner = getattr(principal, "project_id", principal.organization_id)
    key = (owner, api.identity.admin is not None, f"{request.url.path}?{request.url.query}")
    hub.check_room(key, api.identity.session_id)
    chunks = _until_session_ends(request, api, hub.follow(key, source, api))
    headers = {"x-accel-buffering": "no"}
    return StreamingResponse(chunks, media_type="text/event-stream", headers=headers)


async def _until_session_ends(
    request: Request, api: ApiClient, chunks: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """Pass chunks on while the session has the roles that they are rendered for."""
    state: AppState = request.app.state.shared
    secret = choose_session_cookie(request.scope, state.settings).read(request.scope) or ""
    checked_at = time.monotonic()
    async for chunk in chunks:
        if time.monotonic() - checked_at >= SESSION_CHECK_SECONDS:
            checked_at = time.monotonic()
            identity = await run_autocommit(
                state, lambda session: console_sessions.authenticate(session, secret)
            )
            roles = None if identity is None else (identity.project, identity.admin)
            if roles != (api.identity.project, api.identity.admin):
                yield SESSION_ENDED
                return
        yield chunk
