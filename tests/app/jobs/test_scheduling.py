"""Whose job is next: projects take turns, and none has more at work than it may."""

import threading
from collections import Counter
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from app.db import clock
from app.db.session import SessionMaker, transaction
from app.db.tables import Project
from app.jobs import attempts, leases, lifecycle
from tests.factories import make_job, make_project


def claim(session: Session, *, max_running: int = 0) -> Any:
    return leases.acquire(session, "w", lease_seconds=60, max_running=max_running)


def queue(session: Session, project: Project, jobs: int, **changes: Any) -> list[str]:
    return [make_job(session, project, **changes).id for _ in range(jobs)]


class TestTurns:
    def test_a23_a_long_queue_does_not_keep_others_waiting(self, session: Session) -> None:
        busy, late = make_project(session), make_project(session)
        queue(session, busy, 5)
        queue(session, late, 2)
        served = [claim(session).project_id for _ in range(7)]
        assert [Counter(served[at : at + 2]) for at in (0, 2)] == [{busy.id: 1, late.id: 1}] * 2
        assert served[4:] == [busy.id] * 3

    def test_they_alternate_where_one_job_runs_at_a_time(self, session: Session) -> None:
        """With one slot nobody has a job at work when the next is chosen: the last turn decides."""
        projects = [make_project(session) for _ in range(3)]
        for project in projects:
            queue(session, project, 3)
        served = []
        for _ in range(9):
            taken = claim(session)
            lifecycle.cancel(session, taken.project_id, taken.job_id)
            served.append(taken.project_id)
        assert all(len(set(served[at : at + 3])) == 3 for at in (0, 3, 6))

    def test_who_has_less_at_work_comes_first(self, session: Session) -> None:
        loaded, idle = make_project(session), make_project(session)
        queue(session, loaded, 2, state="running")
        queue(session, loaded, 1)
        idle.last_served_at = clock.seconds_from_now(0)
        queue(session, idle, 1)
        assert [claim(session).project_id for _ in range(2)] == [idle.id, loaded.id]

    def test_a_project_whose_jobs_all_wait_loses_no_turn_of_others(self, session: Session) -> None:
        waiting, ready = make_project(session), make_project(session)
        queue(session, waiting, 2, run_after=clock.seconds_from_now(60))
        queue(session, ready, 2)
        assert [claim(session).project_id for _ in range(2)] == [ready.id, ready.id]
        assert claim(session) is None

    def test_within_a_project_it_goes_by_priority_and_age(self, session: Session) -> None:
        project = make_project(session)
        older, newer, urgent = (make_job(session, project) for _ in range(3))
        urgent.priority = 1
        newer.created_at = older.created_at + timedelta(seconds=1)
        session.flush()
        assert [claim(session).job_id for _ in range(3)] == [urgent.id, older.id, newer.id]

    def test_a_project_that_is_just_being_served_is_passed_over(
        self, sessions: SessionMaker
    ) -> None:
        with transaction(sessions) as session:
            first, second = make_project(session), make_project(session)
            queue(session, first, 3)
            queue(session, second, 1)
        with sessions() as one, sessions() as other:
            assert {claim(one).project_id, claim(other).project_id} == {first.id, second.id}

    def test_adding_to_a_project_does_not_hide_it(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            project = make_project(session)
            queue(session, project, 1)
        with sessions() as adding, sessions() as worker:
            make_job(adding, project, state="validating_files")
            assert claim(worker).project_id == project.id


class TestLimits:
    def test_no_more_than_the_limit_are_at_work(self, session: Session) -> None:
        project = make_project(session)
        queue(session, project, 3)
        first = claim(session, max_running=2)
        assert claim(session, max_running=2) is not None
        assert claim(session, max_running=2) is None
        attempts.yield_job(session, first.job_id, first.epoch)
        assert claim(session, max_running=2) is not None

    def test_others_go_on(self, session: Session) -> None:
        full, other = make_project(session), make_project(session)
        queue(session, full, 2)
        queue(session, other, 2)
        full.max_running_jobs = 1
        served = Counter(claim(session).project_id for _ in range(3))
        assert served == {full.id: 1, other.id: 2}
        assert claim(session) is None

    def test_a_projects_own_limit_stands_before_the_settings(self, session: Session) -> None:
        project = make_project(session)
        queue(session, project, 2)
        project.max_running_jobs = 0
        assert [claim(session, max_running=1) is None for _ in range(3)] == [False, False, True]

    def test_a_job_that_is_being_paused_or_stored_is_still_at_work(self, session: Session) -> None:
        project = make_project(session)
        queue(session, project, 1, state="pausing")
        queue(session, project, 1, state="finalizing")
        queue(session, project, 1)
        assert claim(session, max_running=2) is None
        assert claim(session, max_running=3) is not None


def test_many_workers_at_once_pass_no_limit_and_leave_nothing(sessions: SessionMaker) -> None:
    with transaction(sessions) as session:
        limited, free = make_project(session), make_project(session)
        limited.max_running_jobs = 3
        for project in (limited, free):
            queue(session, project, 8)
    taken: list[str] = []
    start = threading.Barrier(6)

    def work() -> None:
        start.wait()
        while True:
            with transaction(sessions) as session:
                got = claim(session)
            if got is None:
                return
            taken.append(got.project_id)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(taken) == {limited.id: 3, free.id: 8}
