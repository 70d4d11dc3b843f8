"""Operator's overview of the service, and the status that a project's key may read."""

import httpx
import pytest
from sqlalchemy.orm import Session

from app.db import clock
from app.db.session import SessionMaker
from app.db.tables import JobLease, Outbox, Project, TrainerState
from app.http_server.protocol import LISTENER_PATH
from app.jobs import trainers
from app.operations import periodic_task_runs
from tests.app.http.test_admission import expect_error
from tests.factories import make_job
from tests.live_api import Account, create_account


@pytest.fixture
def project(session: Session, account: Account) -> Project:
    return session.get_one(Project, account.principal.project_id)


def hold(session: Session, project: Project, trainer: str) -> str:
    """A running job that a trainer holds."""
    job = make_job(session, project, state="running", attempt=1)
    lease = JobLease(job_id=job.id, attempt=1, trainer=trainer)
    lease.lease_until = clock.seconds_from_now(60)  # type: ignore[assignment]
    session.add(lease)
    session.commit()
    return job.id


class TestOperations:
    URL = "/v1/organization/operations"

    def test_shows_trainers_jobs_tasks_outbox_and_sizes(
        self, admin_http: httpx.Client, session: Session, project: Project
    ) -> None:
        trainers.record_heartbeat(session, "trainer-1", state=TrainerState.ACTIVE)
        running = hold(session, project, "trainer-1")
        queued = make_job(session, project)
        session.add(Outbox(kind="delete", payload={}))
        periodic_task_runs.record_success(session, {"expire_leases": 5.0})
        session.commit()
        admin_http.get("/v1/organization/projects")
        found = admin_http.get(self.URL).json()
        assert found["object"] == "organization.operations"
        [trainer] = found["trainers"]
        assert (trainer["name"], trainer["state"], trainer["is_live"]) == (
            "trainer-1",
            "active",
            True,
        )
        assert trainer["job_ids"] == [running]
        jobs = {job["id"]: job for job in found["jobs"]}
        assert jobs.keys() == {running, queued.id}
        assert jobs[running]["trainer"] == "trainer-1"
        assert "waits for a free trainer" in jobs[queued.id]["reason"]
        assert [task["name"] for task in found["periodic_tasks"]] == ["expire_leases"]
        assert found["periodic_tasks"][0]["is_late"] is False
        assert ("delete", 1) in [(each["kind"], each["pending"]) for each in found["outbox"]]
        assert found["storage"]["database_bytes"] > 0
        assert found["machine"]["cpu_count"] > 0
        routes = [each["route"] for each in found["slowest_routes"]]
        assert any(route.startswith("/v1/") for route in routes)
        assert not any(LISTENER_PATH.fullmatch(route) for route in routes)

    def test_tells_no_other_organizations_jobs(
        self, admin_http: httpx.Client, session: Session, sessions: SessionMaker, account: Account
    ) -> None:
        other = create_account(sessions, "others")
        theirs = session.get_one(Project, other.principal.project_id)
        trainers.record_heartbeat(session, "trainer-1", state=TrainerState.ACTIVE)
        job_id = hold(session, theirs, "trainer-1")
        answer = admin_http.get(self.URL)
        assert job_id not in answer.text
        assert answer.json()["jobs"] == []
        assert answer.json()["trainers"][0]["running_jobs"] == 1

    def test_needs_an_admin_key(self, http: httpx.Client) -> None:
        expect_error(http.get(self.URL), 403)


class TestStatus:
    URL = "/v1/status"

    def test_counts_own_jobs_and_says_when_the_next_can_start(
        self, http: httpx.Client, session: Session, project: Project
    ) -> None:
        status = http.get(self.URL).json()
        assert (status["trainers"], status["can_start_now"]) == (0, False)
        trainers.record_heartbeat(session, "trainer-1", state=TrainerState.ACTIVE)
        make_job(session, project, state="paused")
        make_job(session, project)
        session.commit()
        status = http.get(self.URL).json()
        counts = (status["running_jobs"], status["queued_jobs"], status["paused_jobs"])
        assert counts == (0, 1, 1)
        assert (status["can_start_now"], status["next_free_at"]) == (True, None)
        hold(session, project, "trainer-1")
        assert http.get(self.URL).json()["can_start_now"] is False

    def test_tells_nothing_of_other_projects(
        self, http: httpx.Client, session: Session, sessions: SessionMaker, account: Account
    ) -> None:
        other = create_account(sessions, "others")
        theirs = session.get_one(Project, other.principal.project_id)
        trainers.record_heartbeat(session, "trainer-1", state=TrainerState.ACTIVE)
        hold(session, theirs, "trainer-1")
        status = http.get(self.URL).json()
        assert (status["running_jobs"], status["queued_jobs"]) == (0, 0)
        assert (status["can_start_now"], status["next_free_at"]) == (False, None)

    def test_a_full_quota_lets_no_job_start(
        self, http: httpx.Client, session: Session, project: Project
    ) -> None:
        for name in ("trainer-1", "trainer-2"):
            trainers.record_heartbeat(session, name, state=TrainerState.ACTIVE)
        project.max_running_jobs = 1
        hold(session, project, "trainer-1")
        status = http.get(self.URL).json()
        assert (status["can_start_now"], status["max_running_jobs"]) == (False, 1)
