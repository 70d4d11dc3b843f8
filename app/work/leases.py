"""Leases on lists and their ranges: renew, release, and record results under them.

`attempt` is the fencing token: it grows with each claim and when a list is stopped, and whatever is
written checks it, in the same transaction and with the row locked.
"""

import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, case, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db import clock, outbox
from app.db.tables import WorkerTask, WorkList, WorkPhase, WorkRange, WorkResult
from app.work import lists
from app.work.kinds import Claim, ItemResult, LeaseLost, ListClaim, RangeClaim

LEASE_SECONDS = 30
MIN_RETRY_SECONDS = 2
MAX_RETRY_SECONDS = 60
MAX_DOUBLINGS = 10
# For bodies of JSON; higher levels take longer and save little.
COMPRESSION_LEVEL = 1


def renew(session: Session, claims: Collection[Claim]) -> set[Claim]:
    """Renew leases; return those that are still held."""
    held = _renew_lists(session, [each for each in claims if isinstance(each, ListClaim)])
    return held | _renew_ranges(session, [each for each in claims if isinstance(each, RangeClaim)])


def _renew_lists(session: Session, claims: Sequence[ListClaim]) -> set[Claim]:
    key = tuple_(WorkList.id, WorkList.attempt)
    renewed = (
        update(WorkList)
        .where(key.in_([(each.list_id, each.attempt) for each in claims]))
        .values(lease_until=clock.seconds_from_now(LEASE_SECONDS))
        .returning(WorkList.id, WorkList.attempt)
        .execution_options(synchronize_session=False)
    )
    found = {tuple(row) for row in session.execute(renewed)} if claims else set()
    return {each for each in claims if (each.list_id, each.attempt) in found}


def _renew_ranges(session: Session, claims: Sequence[RangeClaim]) -> set[Claim]:
    key = (WorkRange.list_id, WorkRange.first_index, WorkRange.attempt)
    held = [(each.list_id, each.first_index, each.attempt) for each in claims]
    renewed = (
        update(WorkRange)
        .where(tuple_(*key).in_(held), WorkRange.done_at.is_(None))
        .values(lease_until=clock.seconds_from_now(LEASE_SECONDS))
        .returning(*key)
        .execution_options(synchronize_session=False)
    )
    found = {tuple(row) for row in session.execute(renewed)} if claims else set()
    return {each for each in claims if (each.list_id, each.first_index, each.attempt) in found}


def release(session: Session, held: Claim, *, delay_seconds: float = 0) -> None:
    """Give unfinished work back; it is claimed again after the delay."""
    _make_claimable(session, held)
    table = WorkList if isinstance(held, ListClaim) else WorkRange
    until = clock.seconds_from_now(delay_seconds) if delay_seconds else None
    session.execute(
        update(table)
        .where(*_is_held(held))
        .values(lease_until=until, attempt=table.attempt + 1)
        .execution_options(synchronize_session=False)
    )


def fail(session: Session, held: Claim) -> tuple[int, int]:
    """Give work back that has failed. Each time it waits for longer.

    Returns how often in a row it has failed, 0 if the lease was lost, and the attempt under which
    the one who failed may still give it up.
    """
    _make_claimable(session, held)
    table = WorkList if isinstance(held, ListClaim) else WorkRange
    # Bounded before the power, which overflows.
    doublings = func.least(table.failures, MAX_DOUBLINGS)
    delay = func.least(MIN_RETRY_SECONDS * func.power(2, doublings), MAX_RETRY_SECONDS)
    failed = (
        update(table)
        .where(*_is_held(held))
        .values(
            failures=table.failures + 1,
            lease_until=clock.seconds_from_now(delay),
            attempt=table.attempt + 1,
        )
        .returning(table.failures, table.attempt)
        .execution_options(synchronize_session=False)
    )
    row = session.execute(failed).one_or_none()
    return (0, held.attempt) if row is None else (row.failures, row.attempt)


def _make_claimable(session: Session, held: Claim) -> None:
    """Have the next claim look into the list of a range that is given back.

    The list is locked first, as by whoever stops it.
    """
    if isinstance(held, RangeClaim):
        row = lists.lock(session, held.list_id)
        if row is not None and row.phase == WorkPhase.RUNNING:
            row.lease_until = None
            session.flush()


def lock_list(session: Session, held: ListClaim) -> WorkList:
    """Lock a list whose planning or finishing is leased. Raises LeaseLost."""
    row = lists.lock(session, held.list_id)
    if row is None or row.attempt != held.attempt:
        raise LeaseLost
    return row


def lock_range(session: Session, held: RangeClaim) -> WorkRange:
    """Lock a leased range. Raises LeaseLost."""
    statement = select(WorkRange).where(*_is_held(held)).with_for_update()
    fresh = statement.execution_options(populate_existing=True)
    row = session.scalars(fresh).one_or_none()
    if row is None:
        raise LeaseLost
    return row


def list_recorded(session: Session, held: RangeClaim) -> set[int]:
    """List the indexes of a range that have a result."""
    return set(session.scalars(select(WorkResult.index).where(*is_in_range(held))))


def list_results(session: Session, list_id: str, first: int, end: int) -> Sequence[ItemResult]:
    """List the results of items `first` to `end`, by index."""
    rows = session.scalars(
        select(WorkResult)
        .where(WorkResult.list_id == list_id, WorkResult.index >= first, WorkResult.index < end)
        .order_by(WorkResult.index)
    )
    return [
        ItemResult(row.index, row.is_success, zlib.decompress(row.body), totals={}) for row in rows
    ]


def record(session: Session, held: RangeClaim, results: Sequence[ItemResult]) -> None:
    """Record results of items of a leased range. One that is recorded stays. Raises LeaseLost."""
    row = lock_range(session, held)
    statement = insert(WorkResult).values(
        [
            {
                "list_id": held.list_id,
                "index": each.index,
                "is_success": each.is_success,
                "body": zlib.compress(each.body, COMPRESSION_LEVEL),
            }
            for each in results
        ]
    )
    added = set(session.scalars(statement.on_conflict_do_nothing().returning(WorkResult.index)))
    new = [each for each in results if each.index in added]
    row.succeeded += sum(each.is_success for each in new)
    row.failed += sum(not each.is_success for each in new)
    row.totals = _add_totals(row.totals, new)
    row.failures = 0
    session.flush()


def finish_range(session: Session, held: RangeClaim) -> WorkRange:
    """Mark a leased range as done; its list goes on to be finished after the last.

    Raises LeaseLost.
    """
    # The list first, as whoever stops it.
    lists.lock(session, held.list_id)
    row = lock_range(session, held)
    row.done_at, row.lease_until = func.clock_timestamp(), None
    session.flush()
    is_open = select(WorkRange.first_index).where(
        WorkRange.list_id == held.list_id, WorkRange.done_at.is_(None)
    )
    if session.scalars(is_open.limit(1)).one_or_none() is None:
        session.execute(
            update(WorkList)
            .where(WorkList.id == held.list_id, WorkList.phase == WorkPhase.RUNNING)
            .values(phase=WorkPhase.FINISHING, attempt=WorkList.attempt + 1, lease_until=None)
        )
        outbox.enqueue_notification(session, WorkerTask.WORK, held.list_id)
    return row


def reopen_range(session: Session, held: ListClaim, first_index: int) -> None:
    """Have a range done again whose filed results are lost. Raises LeaseLost."""
    lock_list(session, held)
    session.execute(
        update(WorkRange)
        .where(WorkRange.list_id == held.list_id, WorkRange.first_index == first_index)
        .values(
            done_at=None, storage_key=None, bytes=0, split_at=0, succeeded=0, failed=0, totals={}
        )
    )
    session.execute(
        update(WorkList)
        .where(WorkList.id == held.list_id)
        .values(
            phase=case(
                (WorkList.stop_reason.is_(None), WorkPhase.RUNNING), else_=WorkPhase.FINISHING
            ),
            attempt=WorkList.attempt + 1,
            lease_until=None,
        )
    )


def _add_totals(totals: dict[str, Any], results: Sequence[ItemResult]) -> dict[str, Any]:
    added: Counter[str] = Counter(totals)
    for each in results:
        added.update(each.totals)
    return dict(added)


def _is_held(held: Claim) -> tuple[ColumnElement[bool], ...]:
    if isinstance(held, ListClaim):
        return WorkList.id == held.list_id, WorkList.attempt == held.attempt
    return (
        WorkRange.list_id == held.list_id,
        WorkRange.first_index == held.first_index,
        WorkRange.attempt == held.attempt,
        WorkRange.done_at.is_(None),
    )


def is_in_range(held: RangeClaim) -> tuple[ColumnElement[bool], ...]:
    """Select the results of a range."""
    return (
        WorkResult.list_id == held.list_id,
        WorkResult.index >= held.first_index,
        WorkResult.index < held.end_index,
    )
