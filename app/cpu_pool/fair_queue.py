"""Fair queue: items of many owners, taken in the order of the time that each owner has used.

Start-time fair queueing. Each owner has a virtual time, which advances by the cost of its items.
An owner that returns after a pause starts at the present: it saves nothing up.
"""

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from app.cpu_pool.protocol import PoolOverloaded

T = TypeVar("T")

MAX_ITEMS_PER_OWNER = 256
MAX_ITEMS = 4096


class FairQueue(Generic[T]):
    """Items per owner and consumer. `None` as the consumer means any."""

    def __init__(
        self, *, max_items_per_owner: int = MAX_ITEMS_PER_OWNER, max_items: int = MAX_ITEMS
    ) -> None:
        self._max_items_per_owner = max_items_per_owner
        self._max_items = max_items
        self._items: dict[str, dict[Hashable | None, deque[T]]] = {}
        self._counts: dict[str, int] = {}
        self._total = 0
        self._times: dict[str, float] = {}
        self._now = 0.0

    def __len__(self) -> int:
        return self._total

    def push(
        self, owner: str, item: T, *, consumer: Hashable | None = None, has_limit: bool = True
    ) -> None:
        """Append an item. Raises PoolOverloaded if the owner, or all of them, have too many."""
        count = self._counts.get(owner, 0)
        is_full = count >= self._max_items_per_owner or self._total >= self._max_items
        if is_full and has_limit:
            raise PoolOverloaded("Too many tasks are waiting.")
        self._items.setdefault(owner, {}).setdefault(consumer, deque()).append(item)
        self._counts[owner] = count + 1
        self._total += 1
        self._times[owner] = max(self._times.get(owner, 0.0), self._now)

    def pop(self, consumer: Hashable) -> tuple[str, T] | None:
        """Take the next item for this consumer, of the owner that has used the least."""
        owner = min(self._owners_with_items_for(consumer), key=self._times.__getitem__, default="")
        if not owner:
            return None
        # Not back, for an item that had to wait for its consumer.
        self._now = max(self._now, self._times[owner])
        return owner, self._take(owner, consumer)

    def charge(self, owner: str, cost: float) -> None:
        """Add the cost of an item that was taken."""
        self._times[owner] = self._times.get(owner, self._now) + cost
        # An owner without items that has caught up with the present is as good as a new one.
        for name in [name for name in self._times if name not in self._counts]:
            if self._times[name] <= self._now:
                del self._times[name]

    def _owners_with_items_for(self, consumer: Hashable) -> list[str]:
        return [
            owner for owner, queues in self._items.items() if consumer in queues or None in queues
        ]

    def _take(self, owner: str, consumer: Hashable | None) -> T:
        queues = self._items[owner]
        # What only this consumer can do comes first.
        key = consumer if consumer in queues else None
        item = queues[key].popleft()
        if not queues[key]:
            del queues[key]
        if not queues:
            del self._items[owner]
        self._total -= 1
        self._counts[owner] -= 1
        if not self._counts[owner]:
            del self._counts[owner]
        return item

    def remove_consumer(self, consumer: Hashable | None) -> list[T]:
        """Remove and return the items of this consumer alone; with None, those of any."""
        removed: list[T] = []
        for owner in list(self._items):
            while consumer in self._items.get(owner, {}):
                removed.append(self._take(owner, consumer))
        return removed
