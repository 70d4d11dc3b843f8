"""Fair queue across projects, and quotas of running and queued jobs."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.session import SessionMaker, transaction
from app.db.tables import Job, Project
from app.errors import TooManyQueuedJobs
from app.jobs import attempt_outcomes, leases, lifecycle, scheduling
from tests.factories import make_job, make_project


def acquire(session: Session, *, max_running: int = 0) -> Any:
    return leases.acquire(session, "w", lease_seconds=60, max_running=max_running)


def queue_jobs(session: Session, project: Project, jobs: int, **changes: Any) -> list[str]:
    return [make_job(session, project, **changes).id for _ in range(jobs)]


class TestOrder:
    def test_a23_a_long_queue_does_not_delay_other_projects(self, session: Session) -> None:
        busy, late = make_project(session), make_project(session)
        queue_jobs(session, busy, 5)
        queue_jobs(session, late, 2)
        served = [acquire(session).project_id for _ in range(7)]
        assert [Counter(served[offset : offset + 2]) for offset in (0, 2)] == [
            {busy.id: 1, late.id: 1}
        ] * 2
        assert served[4:] == [busy.id] * 3

    def test_projects_alternate_where_one_job_runs_at_a_time(self, session: Session) -> None:
        """With one slot no job is running when the next is chosen: the time last served decides."""
        projects = [make_project(session) for _ in range(3)]
        for project in projects:
            queue_jobs(session, project, 3)
        served = []
        for _ in range(9):
            acquired = acquire(session)
            lifecycle.cancel(session, acquired.project_id, acquired.job_id)
            served.append(acquired.project_id)
        assert all(len(set(served[offset : offset + 3])) == 3 for offset in (0, 3, 6))

    def test_the_project_with_fewest_running_jobs_comes_first(self, session: Session) -> None:
        loaded, idle = make_project(session), make_project(session)
        queue_jobs(session, loaded, 2, state="running")
        queue_jobs(session, loaded, 1)
        idle.last_served_at = clock.seconds_from_now(0)
        queue_jobs(session, idle, 1)
        assert [acquire(session).project_id for _ in range(2)] == [idle.id, loaded.id]

    def test_a_project_without_due_jobs_is_skipped(self, session: Session) -> None:
        waiting, ready = make_project(session), make_project(session)
        queue_jobs(session, waiting, 2, run_after=clock.seconds_from_now(60))
        queue_jobs(session, ready, 2)
        assert [acquire(session).project_id for _ in range(2)] == [ready.id, ready.id]
        assert acquire(session) is None

    def test_within_a_project_jobs_are_ordered_by_priority_then_age(self, session: Session) -> None:
        project = make_project(session)
        older, newer, urgent = (make_job(session, project) for _ in range(3))
        urgent.priority = 1
        newer.created_at = older.created_at + timedelta(seconds=1)
        session.flush()
        assert [acquire(session).job_id for _ in range(3)] == [urgent.id, older.id, newer.id]

    def test_a_locked_project_is_skipped(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            first, second = make_project(session), make_project(session)
            queue_jobs(session, first, 3)
            queue_jobs(session, second, 1)
        with sessions() as one, sessions() as other:
            assert {acquire(one).project_id, acquire(other).project_id} == {first.id, second.id}

    def test_adding_a_job_does_not_hide_its_project(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            project = make_project(session)
            queue_jobs(session, project, 1)
        with sessions() as adding, sessions() as worker:
            make_job(adding, project, state="validating_files")
            assert acquire(worker).project_id == project.id


class TestRunningQuota:
    def test_no_more_jobs_run_than_the_quota(self, session: Session) -> None:
        project = make_project(session)
        queue_jobs(session, project, 3)
        first = acquire(session, max_running=2)
        assert acquire(session, max_running=2) is not None
        assert acquire(session, max_running=2) is None
        attempt_outcomes.yield_job(session, first.job_id, first.attempt)
        assert acquire(session, max_running=2) is not None

    def test_other_projects_are_not_limited(self, session: Session) -> None:
        full, other = make_project(session), make_project(session)
        queue_jobs(session, full, 2)
        queue_jobs(session, other, 2)
        full.max_running_jobs = 1
        served = Counter(acquire(session).project_id for _ in range(3))
        assert served == {full.id: 1, other.id: 2}
        assert acquire(session) is None

    def test_a_projects_own_quota_overrides_the_setting(self, session: Session) -> None:
        project = make_project(session)
        queue_jobs(session, project, 2)
        project.max_running_jobs = 0
        assert [acquire(session, max_running=1) is None for _ in range(3)] == [False, False, True]

    def test_pausing_and_finalizing_jobs_count_as_running(self, session: Session) -> None:
        project = make_project(session)
        queue_jobs(session, project, 1, state="pausing")
        queue_jobs(session, project, 1, state="finalizing")
        queue_jobs(session, project, 1)
        assert acquire(session, max_running=2) is None
        assert acquire(session, max_running=3) is not None


def test_concurrent_trainers_respect_the_quota_and_leave_no_due_job(sessions: SessionMaker) -> None:
    with transaction(sessions) as session:
        limited, free = make_project(session), make_project(session)
        limited.max_running_jobs = 3
        for project in (limited, free):
            queue_jobs(session, project, 8)
    acquired: list[str] = []
    start = threading.Barrier(6)

    def acquire_until_empty() -> None:
        start.wait()
        while True:
            with transaction(sessions) as session:
                got = acquire(session)
            if got is None:
                return
            acquired.append(got.project_id)

    threads = [threading.Thread(target=acquire_until_empty) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(acquired) == {limited.id: 3, free.id: 8}


class TestQueueQuota:
    def test_counts_validating_and_queued_jobs_only(self, session: Session) -> None:
        project = make_project(session)
        states = ("validating_files", "queued", "running", "paused", "succeeded", "cancelled")
        for state in states:
            make_job(session, project, state=state)
        make_job(session, state="queued")
        scheduling.check_queue_quota(session, project.id, default=3)
        with pytest.raises(TooManyQueuedJobs, match=r"maximum of 2 queued job\(s\)"):
            scheduling.check_queue_quota(session, project.id, default=2)

    @pytest.mark.parametrize(("own", "default"), [(0, 1), (None, 0), (2, 1)])
    def test_a_projects_own_quota_overrides_the_setting_and_0_is_unlimited(
        self, session: Session, own: int | None, default: int
    ) -> None:
        project = make_project(session)
        make_job(session, project)
        scheduling.set_limits(session, project.id, max_queued=own)
        scheduling.check_queue_quota(session, project.id, default=default)
        scheduling.set_limits(session, project.id, max_queued=1)
        with pytest.raises(TooManyQueuedJobs):
            scheduling.check_queue_quota(session, project.id, default=default)

    def test_resuming_a_paused_job_needs_room(self, session: Session) -> None:
        project = make_project(session)
        paused, queued = make_job(session, project, state="paused"), make_job(session, project)
        with pytest.raises(TooManyQueuedJobs):
            lifecycle.resume(session, project.id, paused.id, max_queued=1)
        assert lifecycle.resume(session, project.id, queued.id, max_queued=1) is queued
        lifecycle.cancel(session, project.id, queued.id)
        assert lifecycle.resume(session, project.id, paused.id, max_queued=1).state == "queued"

    def test_concurrent_requests_do_not_exceed_the_quota(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            project = make_project(session)

        def create(_: int) -> bool:
            try:
                with transaction(sessions) as session:
                    scheduling.check_queue_quota(session, project.id, default=3)
                    make_job(session, project, state="validating_files")
            except TooManyQueuedJobs:
                return False
            return True

        with ThreadPoolExecutor(8) as clients:
            successes = list(clients.map(create, range(12)))
        with transaction(sessions) as session:
            assert sum(successes) == session.scalar(select(func.count()).select_from(Job)) == 3
