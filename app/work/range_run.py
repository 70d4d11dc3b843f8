"""Run of one leased range: its items several at once, their results recorded as they come."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from sqlalchemy.orm import Session

from app.db.session import DatabaseUnavailable
from app.work import leases
from app.work.kinds import ItemPostponed, ItemResult, RangeClaim, RangeWork, WorkKind

# Runs a transaction in a thread.
Transact = Callable[[Callable[[Session], Any]], Awaitable[Any]]
# None after the last.
Results = asyncio.Queue[ItemResult | None]

# One transaction records what came in this time: a kill loses no more.
RECORDING_INTERVAL_SECONDS = 0.25
MAX_UNRECORDED = 64
# Of one statement's results, unless a single one is larger.
MAX_STATEMENT_BYTES = 8 * 2**20
MIN_RETRY_SECONDS = 0.25
MAX_RETRY_SECONDS = 15.0
# Without a result, such as while an engine is away. Then others get their turn.
MAX_WAIT_SECONDS = 30.0


class _Progress:
    """Time of a range's last result; without one for long, its work is postponed."""

    def __init__(self) -> None:
        self._time = time.monotonic()
        self.is_postponed = False

    def note_result(self) -> None:
        self._time = time.monotonic()

    def note_postponed(self) -> None:
        if time.monotonic() - self._time >= MAX_WAIT_SECONDS:
            self.is_postponed = True


async def run_range(kind: WorkKind, claim: RangeClaim, transact: Transact) -> None:
    """Do the items of a range that have no result yet.

    Raises LeaseLost, and ItemPostponed if the items that are left should be done later, so that
    the work of others is not held up.
    """
    work = await asyncio.to_thread(kind.open_range, claim)
    recorded = await transact(lambda session: leases.list_recorded(session, claim))
    pending = iter([index for index in work.indexes if index not in recorded])
    results: Results = asyncio.Queue(maxsize=MAX_UNRECORDED)
    progress = _Progress()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_record_all(claim, results, transact))
            async with asyncio.TaskGroup() as workers:
                for _ in range(kind.max_in_flight):
                    workers.create_task(_do_items(work, pending, results, progress))
            await results.put(None)
    except ExceptionGroup as group:
        raise _find_first(group) from group
    if progress.is_postponed:
        raise ItemPostponed


def _find_first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


async def _do_items(
    work: RangeWork, pending: Iterator[int], results: Results, progress: _Progress
) -> None:
    for index in pending:
        result = await _do_item(work, index, progress)
        if result is None:
            return
        progress.note_result()
        await results.put(result)
        if progress.is_postponed:
            return


async def _do_item(work: RangeWork, index: int, progress: _Progress) -> ItemResult | None:
    """Do an item; None if the range is postponed. What is under way then is still waited for."""
    tries = 0
    while True:
        try:
            return await work.run(index, tries)
        except ItemPostponed:
            progress.note_postponed()
            if progress.is_postponed:
                return None
            delay = min(MIN_RETRY_SECONDS * 2**tries, MAX_RETRY_SECONDS)
            tries += 1
            # Jitter, so that the items do not all come back at the same moment.
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))


async def _record_all(claim: RangeClaim, results: Results, transact: Transact) -> None:
    """Record results in the order in which they come, until None."""
    is_last = False
    while not is_last:
        batch = [await results.get()]
        if batch[0] is not None:
            await asyncio.sleep(RECORDING_INTERVAL_SECONDS)
        while not results.empty():
            batch.append(results.get_nowait())
        is_last = batch[-1] is None
        done = [each for each in batch if each is not None]
        for part in _cut(done):
            await _record(claim, part, transact)


def _cut(results: list[ItemResult]) -> Iterator[list[ItemResult]]:
    """Cut results into what one statement holds."""
    part: list[ItemResult] = []
    size = 0
    for each in results:
        if part and size + len(each.body) > MAX_STATEMENT_BYTES:
            yield part
            part, size = [], 0
        part.append(each)
        size += len(each.body)
    if part:
        yield part


async def _record(claim: RangeClaim, results: list[ItemResult], transact: Transact) -> None:
    while True:
        try:
            await transact(lambda session: leases.record(session, claim, results))
            return
        except DatabaseUnavailable:
            # It may have been committed: then nothing is added again.
            await asyncio.sleep(MIN_RETRY_SECONDS)
