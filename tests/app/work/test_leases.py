"""Leases on lists and ranges: turns, fencing, counts, and what stopping takes away."""

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import Project, WorkList, WorkPhase, WorkRange, WorkResult, WorkStop
from app.work import claims, leases, lists
from app.work.kinds import ItemResult, LeaseLost, ListClaim, PlannedRange, RangeClaim
from tests.factories import make_project

KIND = "test"


def start_list(session: Session, project: Project, name: str, num_ranges: int = 2) -> None:
    lists.create(session, name, kind=KIND, project_id=project.id)
    ranges = [PlannedRange(10 * n, 10 * n + 10, {"n": n}) for n in range(num_ranges)]
    lists.start(session, name, ranges)


def claim_range(session: Session) -> RangeClaim:
    claimed = claims.claim(session, [KIND])
    assert isinstance(claimed, RangeClaim)
    return claimed


def claim_list(session: Session) -> ListClaim:
    claimed = claims.claim(session, [KIND])
    assert isinstance(claimed, ListClaim)
    return claimed


def make_result(index: int, *, is_success: bool = True) -> ItemResult:
    return ItemResult(index, is_success=is_success, body=b"{}", totals={"tokens": 3})


def expire(session: Session) -> None:
    session.execute(update(WorkRange).values(lease_until=clock.seconds_from_now(-1)))
    session.execute(update(WorkList).values(lease_until=clock.seconds_from_now(-1)))


@pytest.fixture
def project(session: Session) -> Project:
    # Nothing is committed here: the trigger that queues lists runs at once.
    session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    return make_project(session)


def test_an_item_counts_once(session: Session, project: Project) -> None:
    start_list(session, project, "list", num_ranges=1)
    held = claim_range(session)
    leases.record(session, held, [make_result(0), make_result(1, is_success=False)])
    leases.record(session, held, [make_result(1), make_result(2)])
    row = session.get_one(WorkRange, ("list", 0))
    assert (row.succeeded, row.failed, row.totals) == (2, 1, {"tokens": 9})
    assert leases.list_recorded(session, held) == {0, 1, 2}


def test_who_has_lost_a_lease_writes_nothing(session: Session, project: Project) -> None:
    start_list(session, project, "list", num_ranges=1)
    frozen = claim_range(session)
    expire(session)
    successor = claim_range(session)
    assert successor.attempt > frozen.attempt
    assert leases.renew(session, [frozen, successor]) == {successor}
    with pytest.raises(LeaseLost):
        leases.record(session, frozen, [make_result(0)])
    with pytest.raises(LeaseLost):
        leases.finish_range(session, frozen)
    leases.release(session, frozen)
    leases.record(session, successor, [make_result(0)])


def test_stopping_takes_all_leases_away(session: Session, project: Project) -> None:
    start_list(session, project, "list")
    held = [claim_range(session) for _ in range(2)]
    leases.record(session, held[0], [make_result(0)])
    assert lists.stop(session, "list", WorkStop.CANCELLED)
    assert leases.renew(session, held) == set()
    for each in held:
        with pytest.raises(LeaseLost):
            leases.record(session, each, [make_result(1)])
    finishing = claim_list(session)
    assert (finishing.phase, finishing.stop_reason) == (WorkPhase.FINISHING, WorkStop.CANCELLED)
    assert not lists.stop(session, "list", WorkStop.EXPIRED)
    assert [each.index for each in leases.list_results(session, "list", 0, 20)] == [0]


def test_a_list_is_finished_after_its_last_range(session: Session, project: Project) -> None:
    start_list(session, project, "list")
    first, second = (claim_range(session) for _ in range(2))
    leases.finish_range(session, second)
    assert claims.claim(session, [KIND]) is None
    leases.finish_range(session, first)
    finishing = claim_list(session)
    assert finishing.stop_reason is None
    leases.lock_list(session, finishing)
    expire(session)
    claim_list(session)
    with pytest.raises(LeaseLost):
        leases.lock_list(session, finishing)


def test_failures_wait_for_longer_each_time(session: Session, project: Project) -> None:
    start_list(session, project, "list", num_ranges=1)
    for failures in (1, 2):
        assert leases.fail(session, claim_range(session))[0] == failures
        assert claims.claim(session, [KIND]) is None
        expire(session)
    held = claim_range(session)
    leases.record(session, held, [make_result(0)])
    assert leases.fail(session, held)[0] == 1


def test_any_number_of_failures_has_a_delay(session: Session, project: Project) -> None:
    start_list(session, project, "list", num_ranges=1)
    session.execute(update(WorkRange).values(failures=5000))
    assert leases.fail(session, claim_range(session))[0] == 5001


def test_a_deleted_list_leaves_nothing(session: Session, project: Project) -> None:
    start_list(session, project, "list", num_ranges=1)
    leases.record(session, claim_range(session), [make_result(0)])
    lists.delete_list(session, "list")
    for table in (WorkList, WorkRange, WorkResult):
        assert session.scalar(select(func.count()).select_from(table)) == 0
