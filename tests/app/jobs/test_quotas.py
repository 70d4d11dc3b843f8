"""How many jobs a project may have in the queue."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.session import SessionMaker, transaction
from app.db.tables import Job
from app.errors import TooManyQueuedJobs
from app.jobs import lifecycle, quotas
from tests.factories import make_job, make_project


def test_new_and_queued_jobs_fill_it_and_no_others(session: Session) -> None:
    project = make_project(session)
    states = ("validating_files", "queued", "running", "paused", "succeeded", "cancelled")
    for state in states:
        make_job(session, project, state=state)
    make_job(session, state="queued")
    quotas.check_queue_quota(session, project.id, default=3)
    with pytest.raises(TooManyQueuedJobs, match="2 jobs of this project wait"):
        quotas.check_queue_quota(session, project.id, default=2)


@pytest.mark.parametrize(("own", "default"), [(0, 1), (None, 0), (2, 1)])
def test_a_projects_own_limit_stands_before_the_settings_and_0_is_none(
    session: Session, own: int | None, default: int
) -> None:
    project = make_project(session)
    make_job(session, project)
    quotas.set_limits(session, project.id, max_queued=own)
    quotas.check_queue_quota(session, project.id, default=default)
    quotas.set_limits(session, project.id, max_queued=1)
    with pytest.raises(TooManyQueuedJobs):
        quotas.check_queue_quota(session, project.id, default=default)


def test_a_paused_job_needs_room_to_come_back(session: Session) -> None:
    project = make_project(session)
    paused, queued = make_job(session, project, state="paused"), make_job(session, project)
    with pytest.raises(TooManyQueuedJobs):
        lifecycle.resume(session, project.id, paused.id, max_queued=1)
    assert lifecycle.resume(session, project.id, queued.id, max_queued=1) is queued
    lifecycle.cancel(session, project.id, queued.id)
    assert lifecycle.resume(session, project.id, paused.id, max_queued=1).state == "queued"


def test_two_at_once_do_not_share_the_last_place(sessions: SessionMaker) -> None:
    with transaction(sessions) as session:
        project = make_project(session)

    def create(_: int) -> bool:
        try:
            with transaction(sessions) as session:
                quotas.check_queue_quota(session, project.id, default=3)
                make_job(session, project, state="validating_files")
        except TooManyQueuedJobs:
            return False
        return True

    with ThreadPoolExecutor(8) as clients:
        made = list(clients.map(create, range(12)))
    with transaction(sessions) as session:
        assert sum(made) == session.scalar(select(func.count()).select_from(Job)) == 3
