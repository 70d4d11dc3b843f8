"""Feed of changes: one reader per process, and any number of listeners in its memory.

The log is read only while somebody listens, at most once per interval, whatever the number of
listeners. What a listener has not taken yet is one notice per object; beyond a bound it is one to
read everything again.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy.orm import Session

from app import logs
from app.auth import principals
from app.changes import change_log
from app.changes.change_log import MAX_ROWS, LogPosition
from app.changes.schemas import NoticeType
from app.db.session import DatabaseUnavailable
from app.db.tables import ChangeRecord
from app.http.dependencies import AppState, run_autocommit

log = logs.get_logger(__name__)
T = TypeVar("T")

POLL_INTERVAL_SECONDS = 0.4
RETRY_INTERVAL_SECONDS = 2.0
# A key that was revoked or has expired gets no notices from then on.
KEY_CHECK_INTERVAL_SECONDS = 30.0
MAX_WAITING_NOTICES = 1000


@dataclass(frozen=True, slots=True)
class Notice:
    """An object that has changed. `seq` orders notices; of one object, the newest counts.

    `id` is None for `ready` and `reset`, which are about all objects.
    """

    type: NoticeType
    id: str | None
    seq: int


class Subscription:
    """Notices of one listener, by object, until it takes them."""

    def __init__(self, project_id: str, key_id: str | None) -> None:
        self.project_id = project_id
        self.key_id = key_id
        self.is_closed = False
        self._waiting: dict[tuple[NoticeType, str | None], Notice] = {}
        self._wake = asyncio.Event()

    def push(self, notice: Notice) -> None:
        """Add a notice, in place of an older one about the same object."""
        key = (notice.type, notice.id)
        self._waiting.pop(key, None)
        if len(self._waiting) >= MAX_WAITING_NOTICES or notice.type is NoticeType.RESET:
            notice = Notice(NoticeType.RESET, None, notice.seq)
            self._waiting = {}
            key = (notice.type, None)
        self._waiting[key] = notice
        self._wake.set()

    def close(self) -> None:
        """End the subscription: its listener takes what waits, and nothing more."""
        self.is_closed = True
        self._wake.set()

    async def take(self, timeout_seconds: float | None = None) -> list[Notice]:
        """Take the notices that wait, the oldest first, or the next ones; none after the timeout,
        or once the subscription is closed."""
        if not self._waiting and not self.is_closed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), timeout_seconds)
        self._wake.clear()
        notices, self._waiting = list(self._waiting.values()), {}
        return notices


class ChangeFeed:
    """The listeners of this process. For its event loop only."""

    def __init__(self, state: AppState, *, interval_seconds: float = POLL_INTERVAL_SECONDS) -> None:
        self._state = state
        self._interval = interval_seconds
        self._by_project: dict[str, set[Subscription]] = {}
        self._position: LogPosition | None = None
        self._reader: asyncio.Task[None] | None = None
        self._keys_checked_at = 0.0

    @contextmanager
    def subscribe(self, project_id: str, *, key_id: str | None = None) -> Iterator[Subscription]:
        """Listen to a project's changes. The first notice is `ready`: listeners are
        notified of changes committed after it, and what was read before it may be out of date.

        With `key_id` the subscription is closed when this API key is revoked or expires.
        """
        subscription = Subscription(project_id, key_id)
        self._by_project.setdefault(project_id, set()).add(subscription)
        if self._reader is None:
            # In a context of its own: it is not part of the request that it starts with.
            self._reader = asyncio.create_task(self._run(), context=Context())
        elif self._position is not None:
            subscription.push(Notice(NoticeType.READY, None, self._position.newest))
        try:
            yield subscription
        finally:
            self._remove(subscription)

    def _remove(self, subscription: Subscription) -> None:
        of_project = self._by_project[subscription.project_id]
        of_project.discard(subscription)
        if not of_project:
            del self._by_project[subscription.project_id]
        if not self._by_project and self._reader is not None:
            self._reader.cancel()
            self._reader = self._position = None

    def _list_subscriptions(self) -> list[Subscription]:
        return [each for of_project in self._by_project.values() for each in of_project]

    async def _run(self) -> None:
        while True:
            try:
                await self._start()
                while True:
                    await asyncio.sleep(self._interval)
                    await self._check_keys()
                    while await self._read() == MAX_ROWS:
                        pass
            except DatabaseUnavailable as error:
                log.warning("changes.database_unavailable", reason=str(error))
            except Exception:
                log.exception("changes.reader_failed")
            # Whatever was missed, its listeners read again.
            await asyncio.sleep(RETRY_INTERVAL_SECONDS)

    async def _start(self) -> None:
        position = await self._query(change_log.find_position)
        is_first = self._position is None
        self._position = position
        type_ = NoticeType.READY if is_first else NoticeType.RESET
        for subscription in self._list_subscriptions():
            subscription.push(Notice(type_, None, position.newest))

    async def _read(self) -> int:
        """Read the changes since the last time and notify the listeners; return their number."""
        position = self._position
        if position is None:
            return 0
        rows = await self._query(lambda session: change_log.read_after(session, position))
        position.advance([row.seq for row in rows])
        self._tell(rows)
        return len(rows)

    def _tell(self, rows: Sequence[ChangeRecord]) -> None:
        for row in rows:
            for subscription in self._by_project.get(row.project_id, ()):
                subscription.push(Notice(NoticeType(row.type), row.object_id, row.seq))

    async def _check_keys(self) -> None:
        now = time.monotonic()
        if now - self._keys_checked_at < KEY_CHECK_INTERVAL_SECONDS:
            return
        self._keys_checked_at = now
        with_key = [each for each in self._list_subscriptions() if each.key_id is not None]
        key_ids = {each.key_id for each in with_key if each.key_id is not None}
        if not key_ids:
            return
        ended = await self._query(lambda session: principals.list_ended_keys(session, key_ids))
        for subscription in with_key:
            if subscription.key_id in ended:
                subscription.close()

    async def _query(self, work: Callable[[Session], T]) -> T:
        return await run_autocommit(self._state, work)
