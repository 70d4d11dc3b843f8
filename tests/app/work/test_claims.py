"""Claims: turns of projects and lists, and few rows read however many lists wait."""

from collections.abc import Callable

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.orm import Session

from app.db import clock
from app.db.session import SessionMaker, transaction
from app.db.tables import Project, WorkList, WorkPhase, WorkQueue, WorkRange, WorkStop
from app.work import claims, leases, lists
from app.work.kinds import Claim, ListClaim, RangeClaim
from tests.app.work.test_leases import KIND, claim_list, claim_range, expire, start_list
from tests.factories import make_project

MANY = 1000
# A claim reads the rows that it changes, and those of the few leases that are held.
MAX_ROWS = 30
NEWER_KIND = "of a newer version"
NUM_ROWS = text("""
    SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))
    FROM pg_stat_xact_user_tables WHERE relname LIKE 'work_%'
""")

NUM_CHANGED_QUEUES = text("""
    SELECT n_tup_upd FROM pg_stat_xact_user_tables WHERE relname = 'work_queues'
""")


@pytest.fixture
def project(session: Session) -> Project:
    # Nothing is committed here: the trigger that queues lists runs at once.
    session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    return make_project(session)


def add_many(session: Session, projects: list[Project], phase: WorkPhase) -> None:
    """Give each project lists, MANY altogether, with a range each if they are running."""
    names = [f"{phase}-{number}" for number in range(MANY)]
    rows = [
        {
            "id": name,
            "project_id": projects[number % len(projects)].id,
            "kind": KIND,
            "phase": phase,
        }
        for number, name in enumerate(names)
    ]
    session.execute(insert(WorkList), rows)
    if phase == WorkPhase.RUNNING:
        ranges = [
            {"list_id": name, "first_index": 0, "end_index": 10, "source": {}} for name in names
        ]
        session.execute(insert(WorkRange), ranges)


def add_projects(session: Session, count: int) -> list[Project]:
    first = make_project(session)
    rows = [
        {"id": f"proj_{number}", "organization_id": first.organization_id, "name": "one of many"}
        for number in range(count)
    ]
    session.execute(insert(Project), rows)
    return list(session.scalars(select(Project).where(Project.name == "one of many")))


def count_rows(session: Session, work: Callable[[], object]) -> int:
    """Count the rows of the tables of work that are read from their tables or indexes."""
    session.flush()
    session.execute(text("ANALYZE work_queues, work_lists, work_ranges"))
    before = session.scalar(NUM_ROWS)
    work()
    return int(session.scalar(NUM_ROWS) - before)


class TestTurns:
    def test_the_project_with_the_fewest_leases_is_first(
        self, session: Session, project: Project
    ) -> None:
        start_list(session, project, "large", num_ranges=4)
        assert [claim_range(session).list_id for _ in range(2)] == ["large"] * 2
        start_list(session, make_project(session), "of another project", num_ranges=3)
        claimed = [claim_range(session).list_id for _ in range(4)]
        assert claimed[:2] == ["of another project"] * 2
        assert claims.claim(session, ["another kind"]) is None

    def test_projects_without_leases_take_turns(self, session: Session, project: Project) -> None:
        """A project that waits with many lists gets no more turns than one with few."""
        other = make_project(session)
        for number in range(4):
            lists.create(session, f"many-{number}", kind=KIND, project_id=project.id)
        for number in range(2):
            lists.create(session, f"few-{number}", kind=KIND, project_id=other.id)
        claimed = [claim_list(session).list_id for _ in range(6)]
        assert claimed == ["many-0", "few-0", "many-1", "few-1", "many-2", "many-3"]

    def test_lists_of_a_project_take_turns(self, session: Session, project: Project) -> None:
        for name in ("first", "second"):
            start_list(session, project, name)
        claimed = [claim_range(session) for _ in range(4)]
        assert [each.list_id for each in claimed] == ["first", "second"] * 2
        assert [each.first_index for each in claimed] == [0, 0, 10, 10]
        assert claims.claim(session, [KIND]) is None

    def test_other_kinds_stay_for_the_processes_that_know_them(
        self, session: Session, project: Project
    ) -> None:
        start_list(session, project, "list", num_ranges=1)
        assert claims.claim(session, ["another kind"]) is None
        assert claim_range(session).list_id == "list"


class TestWaiting:
    """A list is found as soon as something of it can be claimed again, and not before."""

    def test_what_is_given_back_is_claimed_at_once(
        self, session: Session, project: Project
    ) -> None:
        start_list(session, project, "list", num_ranges=1)
        held = claim_range(session)
        assert claims.claim(session, [KIND]) is None
        leases.release(session, held)
        assert claim_range(session).attempt > held.attempt

    def test_what_waits_is_not_claimed_before_its_time(
        self, session: Session, project: Project
    ) -> None:
        start_list(session, project, "list", num_ranges=1)
        leases.release(session, claim_range(session), delay_seconds=60)
        assert claims.claim(session, [KIND]) is None
        expire(session)
        claim_range(session)

    def test_a_list_is_finished_that_is_stopped_while_all_is_leased(
        self, session: Session, project: Project
    ) -> None:
        start_list(session, project, "list", num_ranges=1)
        claim_range(session)
        assert claims.claim(session, [KIND]) is None
        lists.stop(session, "list", WorkStop.CANCELLED)
        assert claim_list(session).phase == WorkPhase.FINISHING

    def test_a_range_whose_process_died_is_claimed_when_its_lease_ends(
        self, session: Session, project: Project
    ) -> None:
        start_list(session, project, "list")
        dead, held = claim_range(session), claim_range(session)
        assert claims.claim(session, [KIND]) is None
        leases.renew(session, [held])
        queue = session.get_one(WorkQueue, project.id, populate_existing=True)
        row = session.get_one(WorkRange, ("list", dead.first_index), populate_existing=True)
        assert queue.claimable_at == row.lease_until

    def test_a_list_that_is_committed_during_a_claim_is_found_by_the_next(
        self, sessions: SessionMaker
    ) -> None:
        with transaction(sessions) as session:
            project_id = make_project(session).id
            lists.create(session, "first", kind=KIND, project_id=project_id)
        with sessions() as creating:
            lists.create(creating, "second", kind=KIND, project_id=project_id)
            with transaction(sessions) as session:
                assert isinstance(claims.claim(session, [KIND]), ListClaim)
            with transaction(sessions) as session:
                assert claims.claim(session, [KIND]) is None
            creating.commit()
        with transaction(sessions) as session:
            assert claim_list(session).list_id == "second"

    def test_a_list_that_is_locked_is_found_later(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            lists.create(session, "list", kind=KIND, project_id=make_project(session).id)
        with sessions() as locking:
            lists.lock(locking, "list")
            with transaction(sessions) as session:
                assert claims.claim(session, [KIND]) is None
        with transaction(sessions) as session:
            assert claim_list(session).list_id == "list"

    def test_queued_work_of_an_old_process_is_found(self, sessions: SessionMaker) -> None:
        """One of the previous version gives a range back without a word to its list."""
        with transaction(sessions) as session:
            start_list(session, make_project(session), "list", num_ranges=1)
        with transaction(sessions) as session:
            claim_range(session)
            assert claims.claim(session, [KIND]) is None
            session.execute(update(WorkRange).values(lease_until=None))
        with transaction(sessions) as session:
            row = session.get_one(WorkList, "list")
            assert row.lease_until is not None
            remaining = row.lease_until - clock.now(session)
            assert remaining.total_seconds() <= leases.LEASE_SECONDS


class TestRowsRead:
    @pytest.mark.parametrize("phase", [WorkPhase.PLANNING, WorkPhase.RUNNING])
    def test_of_one_project_with_many_lists(
        self, session: Session, project: Project, phase: WorkPhase
    ) -> None:
        add_many(session, [project], phase)
        claimed: list[Claim | None] = []
        rows = count_rows(session, lambda: claimed.append(claims.claim(session, [KIND])))
        assert isinstance(claimed[0], ListClaim if phase in claims.LIST_PHASES else RangeClaim)
        assert rows <= MAX_ROWS

    def test_of_many_projects(self, session: Session, project: Project) -> None:
        add_many(session, add_projects(session, MANY), WorkPhase.RUNNING)
        for _ in range(4):
            rows = count_rows(session, lambda: claim_range(session))
            assert rows <= MAX_ROWS

    def test_beside_a_busy_project_with_many_lists(
        self, session: Session, project: Project
    ) -> None:
        add_many(session, [project], WorkPhase.RUNNING)
        for _ in range(3):
            claim_range(session)
        start_list(session, make_project(session), "of another project", num_ranges=1)
        claimed: list[RangeClaim] = []
        rows = count_rows(session, lambda: claimed.append(claim_range(session)))
        assert claimed[0].list_id == "of another project"
        assert rows <= MAX_ROWS

    def test_where_nothing_is_left_to_claim(self, session: Session, project: Project) -> None:
        add_many(session, add_projects(session, MANY), WorkPhase.RUNNING)
        session.execute(update(WorkRange).values(done_at=clock.seconds_from_now(0)))
        session.execute(update(WorkList).values(phase=WorkPhase.ENDED))
        session.execute(update(WorkQueue).values(claimable_at=None))
        assert count_rows(session, lambda: claims.claim(session, [KIND])) <= MAX_ROWS

    @pytest.mark.parametrize("is_busy", [False, True])
    def test_where_all_that_waits_is_of_unknown_kinds(
        self, session: Session, project: Project, is_busy: bool
    ) -> None:
        """A claim of an old process passes over what a newer version's have queued."""
        projects = add_projects(session, MANY)
        add_many(session, projects, WorkPhase.PLANNING)
        session.execute(update(WorkList).values(kind=NEWER_KIND))
        if is_busy:
            # Each project has a list of a known kind too, which is leased.
            add_many(session, projects, WorkPhase.FINISHING)
            leased = update(WorkList).where(WorkList.kind == KIND)
            session.execute(leased.values(lease_until=clock.seconds_from_now(60)))
        changed = session.scalar(NUM_CHANGED_QUEUES)
        rows = count_rows(session, lambda: claims.claim(session, [KIND]))
        # The queues, and their lists twice.
        assert rows <= MANY * (5 if is_busy else 3) + MAX_ROWS
        assert session.scalar(NUM_CHANGED_QUEUES) == changed
        lists.create(session, "known", kind=KIND, project_id=projects[-1].id)
        assert claim_list(session).list_id == "known"
        assert isinstance(claims.claim(session, [NEWER_KIND]), ListClaim)

    def test_of_lists_that_expire(self, session: Session, project: Project) -> None:
        add_many(session, [project], WorkPhase.RUNNING)
        session.execute(update(WorkList).values(expires_at=clock.seconds_from_now(3600)))
        assert count_rows(session, lambda: lists.find_expired(session)) <= MAX_ROWS
