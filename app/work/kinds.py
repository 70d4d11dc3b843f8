"""The interface between the runner and the kinds of work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from app.db.tables import WorkPhase, WorkStop


class LeaseLost(Exception):
    """The list was stopped, or another process has the work: nothing may be written any more."""


class ItemPostponed(Exception):
    """An item could not be done now, such as while an engine is away; it is tried again."""


@dataclass(frozen=True, slots=True)
class ListClaim:
    """A lease on the planning or the finishing of a list."""

    list_id: str
    kind: str
    project_id: str
    phase: WorkPhase
    stop_reason: WorkStop | None
    attempt: int


@dataclass(frozen=True, slots=True)
class RangeClaim:
    """A lease on a range of a list."""

    list_id: str
    kind: str
    project_id: str
    first_index: int
    end_index: int
    source: Mapping[str, Any] = field(compare=False, hash=False)
    attempt: int = 0


Claim = ListClaim | RangeClaim


@dataclass(frozen=True, slots=True)
class PlannedRange:
    """Items `first_index` to `end_index`, without the latter, and where the kind finds them."""

    first_index: int
    end_index: int
    source: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ItemResult:
    """Result of an item: `body` is the kind's own, and `totals` are added to those of the range."""

    index: int
    is_success: bool
    body: bytes
    totals: Mapping[str, int]


class RangeWork(Protocol):
    """The items of a leased range."""

    @property
    def indexes(self) -> Sequence[int]:
        """Indexes of the items, in order."""

    async def run(self, index: int, tries: int) -> ItemResult:
        """Do one item, which was tried so often before. Faults of the item are its result.

        Raises ItemPostponed. Cancelled when the lease is lost, and when the process ends.
        """


class WorkKind(Protocol):
    """A kind of work. All methods but `RangeWork.run` are called in a thread.

    They may raise StorageUnavailable, DatabaseUnavailable, LeaseLost, and ItemPostponed for what
    only a newer version can do. After any other exception the work is claimed again, a few times.
    """

    # Items of one range that are done at a time.
    max_in_flight: int

    def plan(self, claim: ListClaim) -> None:
        """Check the list and divide it into ranges."""

    def open_range(self, claim: RangeClaim) -> RangeWork:
        """Read the items of a range."""

    def close_range(self, claim: RangeClaim) -> None:
        """End a range all of whose items have a result."""

    def finish(self, claim: ListClaim) -> None:
        """Make the results of a list that is done or was stopped, and end it."""

    def give_up(self, claim: ListClaim, message: str) -> None:
        """End a list that cannot be finished."""
