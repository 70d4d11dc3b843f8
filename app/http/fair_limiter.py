"""Fair limits on concurrency: a share of each pool per project, whatever the others do.

A project may take a fixed share of what the others leave (a dynamic threshold, as in switches). So
one that is alone gets most of a pool, several that are greedy get equal parts, and another that
comes always finds one. Those that wait take turns by project.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# The project, or the organization of an admin key, that the current request is for; empty until its
# key has been checked.
request_owner: ContextVar[str] = ContextVar("request_owner", default="")


class FairLimiter:
    """`total` slots. An owner may have `share` of those that the others do not use, at least one.

    For one event loop.
    """

    def __init__(self, total: int, *, share: float) -> None:
        self.total = total
        self._share = share
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._threads = CapacityLimiter(total)

    @property
    def in_use(self) -> int:
        return self._held.total()

    def held_by(self, owner: str) -> int:
        return self._held[owner]

    def limit_of(self, owner: str) -> int:
        """The number of slots that an owner may have at present."""
        left_by_others = self.total - (self.in_use - self._held[owner])
        return min(left_by_others, max(1, int(left_by_others * self._share)))

    def try_acquire(self, owner: str) -> bool:
        """Take a slot, if the owner may have one more."""
        if self._held[owner] >= self.limit_of(owner):
            return False
        self._held[owner] += 1
        return True

    async def acquire(self, owner: str) -> None:
        """Take a slot, after all that the owner waits for already."""
        if owner not in self._waiting and self.try_acquire(owner):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(owner, turn)
            else:
                self.release(owner)
            raise

    def release(self, owner: str) -> None:
        """Return a slot, and give it to the next owner in turn that may have it."""
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        while any(self._grant(waiting) for waiting in list(self._waiting)):
            pass

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot for the owner of the current request while the block runs."""
        owner = request_owner.get()
        await self.acquire(owner)
        try:
            yield
        finally:
            self.release(owner)

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a function in a thread, in a slot of the current request's owner."""
        async with self.slot():
            return await to_thread.run_sync(function, *args, limiter=self._threads)

    def _grant(self, owner: str) -> bool:
        """Give the owner's next turn a slot, if the owner may have one."""
        turns = self._waiting[owner]
        # A task that was cancelled in this turn of the event loop has not removed its turn yet.
        while turns and turns[0].done():
            turns.popleft()
        if turns and not self.try_acquire(owner):
            return False
        del self._waiting[owner]
        if not turns:
            return False
        turns.popleft().set_result(None)
        if turns:
            # At the end: the others have their turns first.
            self._waiting[owner] = turns
        return True

    def _forget(self, owner: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(owner, deque())
        with suppress(ValueError):
            turns.remove(turn)
        if not turns:
            self._waiting.pop(owner, None)
