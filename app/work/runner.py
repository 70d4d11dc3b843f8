"""Runner of work: claims what is next, keeps its leases, and does it, several at once.

One per process, in a thread of its own with an event loop; whatever waits for the database or the
storage runs in other threads.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import TypeVar

from sqlalchemy.orm import Session

from app import logs
from app.db.session import DatabaseUnavailable, SessionMaker, transaction
from app.db.tables import WorkPhase, WorkStop
from app.storage import StorageUnavailable
from app.work import claims, leases, lists
from app.work.kinds import Claim, ItemPostponed, LeaseLost, ListClaim, RangeClaim, WorkKind
from app.work.range_run import run_range

log = logs.get_logger(__name__)

T = TypeVar("T")
Kinds = Mapping[str, WorkKind]

# Pieces of work of a process at a time.
MAX_CLAIMS = 4
# Also the time after which the work of a list that was stopped ends.
RENEWAL_INTERVAL_SECONDS = 2.0
STOP_CHECK_SECONDS = 0.5
# After the database or the storage was away.
OUTAGE_DELAY_SECONDS = 2.0
# After a range had no result for long.
POSTPONED_DELAY_SECONDS = 15.0
MAX_FAILURES = 5
GIVEN_UP = (
    f"The service failed {MAX_FAILURES} times to do this. Its operator finds the reason in the log "
    "of the io process."
)


class WorkRunner:
    """Runner. Call `run` in a thread; `wake` may be called from any."""

    def __init__(
        self,
        sessions: SessionMaker,
        open_kinds: Callable[[], AbstractAsyncContextManager[Kinds]],
        *,
        stopping: threading.Event,
        poll_interval_seconds: float,
    ) -> None:
        self._sessions = sessions
        self._open_kinds = open_kinds
        self._stopping = stopping
        self._poll_interval_seconds = poll_interval_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._tasks: dict[Claim, asyncio.Task[None]] = {}

    def run(self) -> None:
        """Do work until the process stops. Unfinished work is given back then."""
        asyncio.run(self._run())

    def wake(self) -> None:
        """Look for work now: there may be some."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._woken.set)

    async def _run(self) -> None:
        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        try:
            async with self._open_kinds() as kinds:
                renewal = asyncio.create_task(self._keep_leases())
                try:
                    await self._claim_until_stopped(kinds)
                finally:
                    await self._cancel([renewal, *self._tasks.values()])
        finally:
            self._loop = None

    async def _claim_until_stopped(self, kinds: Kinds) -> None:
        while not self._stopping.is_set():
            claim = None
            self._woken.clear()
            if len(self._tasks) < MAX_CLAIMS:
                claim = await self._claim(kinds)
            if claim is None:
                await self._wait()
                continue
            task = asyncio.create_task(self._work(kinds[claim.kind], claim))
            self._tasks[claim] = task
            task.add_done_callback(partial(self._forget, claim))

    async def _claim(self, kinds: Kinds) -> Claim | None:
        try:
            return await self._transact(partial(claims.claim, kinds=list(kinds)))
        except DatabaseUnavailable as error:
            log.warning("work.not_claimed", reason=str(error))
            return None

    async def _wait(self) -> None:
        """Wait for a notification, the end of a piece of work, the next poll, or the stop."""
        remaining = self._poll_interval_seconds
        while remaining > 0 and not self._stopping.is_set():
            try:
                async with asyncio.timeout(min(remaining, STOP_CHECK_SECONDS)):
                    await self._woken.wait()
                return
            except TimeoutError:
                remaining -= STOP_CHECK_SECONDS

    def _forget(self, claim: Claim, _: object) -> None:
        self._tasks.pop(claim, None)
        self._woken.set()

    async def _keep_leases(self) -> None:
        """Renew the leases; cancel the work of those that are lost."""
        while True:
            await asyncio.sleep(RENEWAL_INTERVAL_SECONDS)
            kept = list(self._tasks)
            if not kept:
                continue
            try:
                held = await self._transact(partial(leases.renew, claims=kept))
            except DatabaseUnavailable as error:
                # Others may take the work meanwhile; then nothing of it is recorded here.
                log.warning("work.leases_not_renewed", reason=str(error))
                continue
            except Exception:
                # Without renewal, all work of this process would be lost and begun again.
                log.exception("work.leases_not_renewed")
                continue
            for claim in set(kept) - held:
                if task := self._tasks.get(claim):
                    log.info("work.lease_lost", list=claim.list_id)
                    task.cancel()

    async def _work(self, kind: WorkKind, claim: Claim) -> None:
        try:
            await self._do(kind, claim)
        except LeaseLost:
            log.info("work.lease_lost", list=claim.list_id)
        except asyncio.CancelledError:
            # Shielded: the process may be about to end.
            await asyncio.shield(self._release(claim))
            raise
        except ItemPostponed:
            log.info("work.items_postponed", list=claim.list_id)
            await self._release(claim, delay_seconds=POSTPONED_DELAY_SECONDS)
        except (DatabaseUnavailable, StorageUnavailable) as error:
            log.warning("work.postponed", list=claim.list_id, reason=str(error))
            await self._release(claim, delay_seconds=OUTAGE_DELAY_SECONDS)
        except Exception:
            log.exception("work.failed", list=claim.list_id)
            await self._fail(kind, claim)

    async def _do(self, kind: WorkKind, claim: Claim) -> None:
        if isinstance(claim, RangeClaim):
            await run_range(kind, claim, self._transact)
            await asyncio.to_thread(kind.close_range, claim)
        elif claim.phase == WorkPhase.PLANNING:
            await asyncio.to_thread(kind.plan, claim)
        else:
            await asyncio.to_thread(kind.finish, claim)

    async def _fail(self, kind: WorkKind, claim: Claim) -> None:
        """Give failed work back; end what has failed too often."""
        try:
            failures, attempt = await self._transact(lambda session: leases.fail(session, claim))
        except DatabaseUnavailable as error:
            log.warning("work.not_released", reason=str(error))
            return
        if failures < MAX_FAILURES:
            return
        log.error("work.given_up", list=claim.list_id)
        try:
            if isinstance(claim, ListClaim) and claim.phase == WorkPhase.FINISHING:
                await asyncio.to_thread(kind.give_up, replace(claim, attempt=attempt), GIVEN_UP)
                return
            await self._transact(
                lambda session: lists.stop(session, claim.list_id, WorkStop.FAILED, GIVEN_UP)
            )
        except Exception:
            # The next attempt fails too, and gives up again.
            log.exception("work.not_given_up", list=claim.list_id)

    async def _release(self, claim: Claim, *, delay_seconds: float = 0) -> None:
        try:
            await self._transact(
                lambda session: leases.release(session, claim, delay_seconds=delay_seconds)
            )
        except DatabaseUnavailable as error:
            # The lease expires by itself.
            log.warning("work.not_released", reason=str(error))

    async def _transact(self, work: Callable[[Session], T]) -> T:
        def run() -> T:
            with transaction(self._sessions) as session:
                return work(session)

        return await asyncio.to_thread(run)

    async def _cancel(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
