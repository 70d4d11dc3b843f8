"""Claims of the next piece of work, by turns of projects and of their lists.

The project with the fewest leases is first, then the one served longest ago, and of its lists the
one served longest ago. However many lists wait, a claim reads a few rows for each lease that is
held, for each list that has just come to rest and for each that another transaction has locked.
`claimable_at` of a project's queue and `lease_until` of a list are never later than the time at
which something can be claimed; where a claim finds nothing, it moves them to when it may.

In a rolling upgrade, lists of kinds of the newer version stay for its processes. One of the
previous version reads a few rows for each project in which only such lists can be claimed, all in
one statement, and locks or changes none of them.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select, text
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import WorkList, WorkPhase, WorkQueue, WorkRange
from app.db.tables.work import HAS_WORK, IS_OPEN, MAY_WAIT
from app.work.kinds import Claim, ListClaim, RangeClaim
from app.work.leases import LEASE_SECONDS

CLAIM_LOCK = "work lists"
LIST_PHASES = (WorkPhase.PLANNING, WorkPhase.FINISHING)
# Before a list is looked into again in which another transaction has locked what could be claimed.
LOCKED_DELAY_SECONDS = 1
# The time of the statement. Unlike the clock, an index can be searched for it.
NOW: ColumnElement[Any] = func.statement_timestamp()


def claim(session: Session, kinds: Collection[str]) -> Claim | None:
    """Claim the next piece of work of these kinds, or None."""
    # Serialized, so that two processes do not both find a project with few leases.
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(CLAIM_LOCK, 0))))
    for queue in _take_turns(session, _count_leases(session), kinds):
        claimed = _claim_of_project(session, queue.project_id, kinds)
        if claimed is None:
            queue.claimable_at = _select_next_claimable_at(queue.project_id)
        else:
            queue.served_at = func.clock_timestamp()
        session.flush()
        if claimed is not None:
            return claimed
    return None


def _count_leases(session: Session) -> Mapping[str, int]:
    """Count the leases on ranges of each project that has any."""
    rows = session.execute(
        select(WorkList.project_id, func.count().label("leases"))
        .join(WorkRange, WorkRange.list_id == WorkList.id)
        .where(WorkList.phase == WorkPhase.RUNNING, text(IS_OPEN), WorkRange.lease_until > NOW)
        .group_by(WorkList.project_id)
    )
    return {each.project_id: each.leases for each in rows}


def _take_turns(
    session: Session, leases: Mapping[str, int], kinds: Collection[str]
) -> Iterator[WorkQueue]:
    """Lock the queues in which something may wait, one after the other, in turn."""
    seen = set(leases)
    while queue := session.scalars(
        _select_queue(kinds, WorkQueue.project_id.not_in(seen))
    ).one_or_none():
        seen.add(queue.project_id)
        yield queue
    busy = select(WorkQueue.project_id, WorkQueue.served_at).where(WorkQueue.project_id.in_(leases))
    turns = sorted(
        (leases[each.project_id], each.served_at, each.project_id) for each in session.execute(busy)
    )
    for *_, project_id in turns:
        if queue := session.scalars(
            _select_queue(kinds, WorkQueue.project_id == project_id)
        ).one_or_none():
            yield queue


def _select_queue(kinds: Collection[str], condition: ColumnElement[bool]) -> Select[WorkQueue]:
    is_of_kinds = WorkList.kind.in_(kinds)
    # Where no list can be claimed at all, `claimable_at` is to be moved.
    has_turn = or_(_find_claimable(is_of_kinds).is_not(None), _find_claimable().is_(None))
    return (
        select(WorkQueue)
        .where(text(MAY_WAIT), WorkQueue.claimable_at <= NOW, condition, has_turn)
        .order_by(WorkQueue.served_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )


def _find_claimable(*conditions: ColumnElement[bool]) -> ColumnElement[Any]:
    """Find a list that can be claimed in the project of a queue.

    A scalar and no EXISTS, for which Postgres may read all lists into a hash table.
    """
    return (
        select(WorkList.id)
        .where(
            WorkList.project_id == WorkQueue.project_id,
            text(HAS_WORK),
            _is_claimable(WorkList),
            *conditions,
        )
        .order_by(WorkList.served_at)
        .limit(1)
        .correlate(WorkQueue)
        .scalar_subquery()
    )


def _select_next_claimable_at(project_id: str) -> Any:
    """Select when a list may be claimable: now, if it is locked or of another process's kind."""
    return (
        select(func.min(func.coalesce(WorkList.lease_until, NOW)))
        .where(WorkList.project_id == project_id, text(HAS_WORK))
        .scalar_subquery()
    )


def _claim_of_project(session: Session, project_id: str, kinds: Collection[str]) -> Claim | None:
    turn = (
        select(WorkList)
        .where(
            WorkList.project_id == project_id,
            text(HAS_WORK),
            WorkList.kind.in_(kinds),
            _is_claimable(WorkList),
        )
        .order_by(WorkList.served_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    while row := session.scalars(turn).one_or_none():
        claimed = _claim_list(row) if row.phase in LIST_PHASES else _claim_range(session, row)
        if claimed is None:
            row.lease_until = _select_next_end(row.id)
        else:
            row.served_at = func.clock_timestamp()
        session.flush()
        if claimed is not None:
            return claimed
    return None


def _claim_list(row: WorkList) -> ListClaim:
    row.attempt += 1
    row.lease_until = clock.seconds_from_now(LEASE_SECONDS)
    return ListClaim(row.id, row.kind, row.project_id, row.phase, row.stop_reason, row.attempt)


def _claim_range(session: Session, row: WorkList) -> RangeClaim | None:
    first = (
        select(WorkRange)
        .where(WorkRange.list_id == row.id, text(IS_OPEN), _is_claimable(WorkRange))
        .order_by(WorkRange.first_index)
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    found = session.scalars(first).one_or_none()
    if found is None:
        return None
    found.attempt += 1
    found.lease_until = clock.seconds_from_now(LEASE_SECONDS)
    return RangeClaim(
        row.id,
        row.kind,
        row.project_id,
        found.first_index,
        found.end_index,
        found.source,
        found.attempt,
    )


def _select_next_end(list_id: str) -> ColumnElement[Any]:
    """Select when a lease on a range ends, of a list in which none can be claimed now."""
    first = (
        select(func.min(WorkRange.lease_until))
        .where(WorkRange.list_id == list_id, text(IS_OPEN))
        .scalar_subquery()
    )
    soonest = clock.seconds_from_now(LOCKED_DELAY_SECONDS)
    return func.greatest(func.coalesce(first, soonest), soonest)


def _is_claimable(table: type[WorkList] | type[WorkRange]) -> ColumnElement[bool]:
    return or_(table.lease_until.is_(None), table.lease_until < NOW)
