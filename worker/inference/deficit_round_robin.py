"""Deficit round robin (Shreedhar and Varghese 1995): a queue that projects share by cost."""

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(slots=True)
class _Flow(Generic[Item]):
    """The items of one project, in order, each with its cost."""

    items: deque[tuple[int, Item]] = field(default_factory=deque)
    deficit: int = 0


class DeficitRoundRobin(Generic[Item]):
    """Items of projects, in order within each; every round each project may spend `quantum`.

    With costs of at most one quantum `pop` takes constant time. Not thread-safe.
    """

    def __init__(self, quantum: int) -> None:
        self._quantum = quantum
        self._flows: dict[str, _Flow[Item]] = {}
        self._ring: deque[str] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def num_projects(self) -> int:
        """Number of projects with items."""
        return len(self._ring)

    def peek(self) -> Item:
        """Return an item of the project whose turn is next. Raises IndexError if there is none."""
        return self._flows[self._ring[0]].items[0][1]

    def push(self, project: str, cost: int, item: Item) -> None:
        if project not in self._flows:
            self._flows[project] = _Flow()
            self._ring.append(project)
        self._flows[project].items.append((cost, item))
        self._length += 1

    def pop(self) -> Item:
        """Remove the next item. Raises IndexError if there is none."""
        while True:
            project = self._ring[0]
            flow = self._flows[project]
            cost, item = flow.items[0]
            if cost <= flow.deficit:
                break
            flow.deficit += self._quantum
            if cost > flow.deficit:
                self._ring.rotate(-1)
        flow.deficit -= cost
        flow.items.popleft()
        self._length -= 1
        if not flow.items:
            self._ring.popleft()
            del self._flows[project]
        elif flow.items[0][0] > flow.deficit:
            self._ring.rotate(-1)
        return item
