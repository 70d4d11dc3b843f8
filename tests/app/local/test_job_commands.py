"""`luthier jobs`: what operators see of all projects' jobs, and how they stop them."""

import json

import pytest
from sqlalchemy import select, text

from app.db.session import SessionMaker, transaction
from app.db.tables import Job, JobEvent
from app.jobs import leases
from tests.app.test_cli import Luthier, luthier
from tests.factories import make_job, make_project

__all__ = ["luthier"]


def make_jobs(sessions: SessionMaker) -> tuple[str, str]:
    """Make a running job of one project and a queued one of another; returns their ids."""
    with transaction(sessions) as session:
        running = make_job(session, make_project(session), total_steps=40)
        assert leases.acquire(session, "trainer-7", lease_seconds=60) is not None
        queued = make_job(session, make_project(session))
        return running.id, queued.id


def last_event(sessions: SessionMaker, job_id: str) -> str:
    with transaction(sessions) as session:
        events = select(JobEvent.message).where(JobEvent.job_id == job_id)
        return session.scalars(events.order_by(JobEvent.seq.desc())).first() or ""


class TestA58List:
    def test_shows_unfinished_jobs_of_all_projects(
        self, luthier: Luthier, sessions: SessionMaker
    ) -> None:
        running, queued = make_jobs(sessions)
        with transaction(sessions) as session:
            make_job(session, state="succeeded")
        first, second = luthier("jobs", "list").stdout.splitlines()
        assert first.startswith(f"{queued}  queued  step 0/?  proj_")
        assert first.endswith("No trainer takes jobs at present.")
        assert second.startswith(f"{running}  running  step 0/40  proj_")

    def test_json_has_the_trainer_and_filters_apply(
        self, luthier: Luthier, sessions: SessionMaker
    ) -> None:
        running, _ = make_jobs(sessions)
        (job,) = json.loads(luthier("jobs", "list", "--state", "running", "--json").stdout)
        assert (job["id"], job["trainer"], job["reason"]) == (running, "trainer-7", None)
        project = job["project_id"]
        (same,) = json.loads(luthier("jobs", "list", "--project", project, "--json").stdout)
        assert same["id"] == running

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ("run_after = '2999-01-01 12:00Z'", "It is tried again at 12:00:00 UTC."),
            ("state = 'paused'", "It is paused until it is resumed."),
            ("state = 'failed', error_message = 'Bad.'", "Bad."),
        ],
    )
    def test_says_why_a_job_waits(
        self, luthier: Luthier, sessions: SessionMaker, change: str, reason: str
    ) -> None:
        _, queued = make_jobs(sessions)
        with transaction(sessions) as session:
            session.execute(text(f"UPDATE jobs SET {change} WHERE id = :id"), {"id": queued})
        assert json.loads(luthier("jobs", "show", queued, "--json").stdout)["reason"] == reason

    def test_a_quota_and_a_requested_yield_are_reasons(
        self, luthier: Luthier, sessions: SessionMaker
    ) -> None:
        running, queued = make_jobs(sessions)
        with transaction(sessions) as session:
            project = session.get_one(Job, running).project_id
            session.get_one(Job, queued).project_id = project
            session.execute(text("UPDATE job_leases SET yield_requested_at = clock_timestamp()"))
        shown = luthier("jobs", "show", queued, LUTHIER_MAX_RUNNING_JOBS_PER_PROJECT="1").stdout
        assert "reason: Its project runs its maximum of 1 job(s)." in shown
        assert "It is yielding its trainer" in luthier("jobs", "show", running).stdout


class TestA58Changes:
    def test_the_operator_cancels_any_projects_job(
        self, luthier: Luthier, sessions: SessionMaker
    ) -> None:
        running, _ = make_jobs(sessions)
        assert luthier("jobs", "cancel", running).stdout == f"{running}: cancelled\n"
        assert last_event(sessions, running) == "The job has been cancelled by the operator"
        result = luthier("jobs", "pause", running)
        assert (result.returncode, result.stdout) == (1, "")
        assert "was cancelled and cannot be paused" in result.stderr

    def test_the_operator_pauses_and_resumes(
        self, luthier: Luthier, sessions: SessionMaker
    ) -> None:
        running, queued = make_jobs(sessions)
        assert luthier("jobs", "pause", running).stdout == f"{running}: pausing\n"
        assert last_event(sessions, running) == "The job is being paused by the operator"
        assert luthier("jobs", "pause", queued).stdout == f"{queued}: paused\n"
        assert luthier("jobs", "resume", queued).stdout == f"{queued}: queued\n"
        assert last_event(sessions, queued) == "The job has been resumed by the operator"

    def test_an_unknown_job(self, luthier: Luthier, sessions: SessionMaker) -> None:
        result = luthier("jobs", "cancel", "ftjob-nope")
        assert (result.returncode, result.stderr) == (1, "Could not find fine tune: ftjob-nope\n")
