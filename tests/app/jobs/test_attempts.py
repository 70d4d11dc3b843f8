"""List of a job's attempts: steps, reasons, logs and pages."""

from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session

from app.db.tables import Job, JobAttempt, JobMetric, JobState, Project
from app.jobs import attempt_outcomes, attempts, leases, lifecycle, states
from app.jobs.states import LeaseLost
from tests.factories import make_job
from tests.live_api import Account


@pytest.fixture
def job(session: Session, account: Account) -> Job:
    project = session.get_one(Project, account.principal.project_id)
    job = make_job(session, project)
    session.commit()
    return job


def acquire(session: Session) -> int:
    assignment = leases.acquire(session, "trainer-1", lease_seconds=60)
    assert assignment is not None
    session.commit()
    return assignment.attempt


def list_attempts(http: httpx.Client, job: Job, **params: Any) -> list[dict[str, Any]]:
    answer = http.get(f"/v1/fine_tuning/jobs/{job.id}/attempts", params=params)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


def test_an_open_attempt(http: httpx.Client, session: Session, job: Job) -> None:
    assert list_attempts(http, job) == []
    attempt = acquire(session)
    session.add(JobMetric(job_id=job.id, step=7, attempt=attempt, values={}))
    session.commit()
    [found] = list_attempts(http, job)
    assert found.pop("started_at") > 1_700_000_000
    assert found == {
        "object": "fine_tuning.job.attempt",
        "id": f"{job.id}-1",
        "attempt": 1,
        "trainer": "trainer-1",
        "ended_at": None,
        "end_reason": None,
        "message": None,
        "exit_code": None,
        "resumed_step": 0,
        "reached_step": 7,
        "log_tail": None,
    }


def test_reasons_messages_and_steps(http: httpx.Client, session: Session, job: Job) -> None:
    number = acquire(session)
    session.add(JobMetric(job_id=job.id, step=3, attempt=number, values={}))
    attempts.record_log(session, job.id, number, "2026 error training.failed")
    reason = "The training process was killed by SIGKILL."
    attempt_outcomes.record_crash(session, job.id, number, reason=reason, exit_code=-9)
    session.commit()
    attempt_outcomes.retry_with_smaller_batch(session, job.id, acquire(session), exit_code=5)
    session.commit()
    number = acquire(session)
    lifecycle.pause(session, job.project_id, job.id)
    attempt_outcomes.yield_job(session, job.id, number)
    session.commit()
    paused, out_of_memory, killed = list_attempts(http, job)
    assert (killed["end_reason"], killed["exit_code"], killed["reached_step"]) == ("killed", -9, 3)
    assert killed["message"] == f"{reason} The job was requeued."
    assert killed["log_tail"] == "2026 error training.failed"
    assert out_of_memory["end_reason"] == "out_of_memory"
    assert (paused["end_reason"], paused["message"]) == ("paused", "The job has been paused")
    assert paused["ended_at"] >= paused["started_at"]


@pytest.mark.parametrize(
    ("outcome", "exit_code", "reason"),
    [("done", 0, "succeeded"), ("crashed", 1, "crashed"), ("lost", None, "lost")],
)
def test_attempts_of_earlier_versions_have_a_reason_too(
    http: httpx.Client,
    session: Session,
    job: Job,
    outcome: str,
    exit_code: int | None,
    reason: str,
) -> None:
    session.add(
        JobAttempt(job_id=job.id, attempt=1, trainer="x", outcome=outcome, exit_code=exit_code)
    )
    session.commit()
    assert list_attempts(http, job)[0]["end_reason"] == reason


def test_pages(http: httpx.Client, session: Session, job: Job) -> None:
    for number in (1, 2, 10):
        session.add(JobAttempt(job_id=job.id, attempt=number, trainer="x"))
    session.commit()
    first = list_attempts(http, job, limit=2)
    assert [each["attempt"] for each in first] == [10, 2]
    rest = list_attempts(http, job, after=first[-1]["id"])
    assert [each["attempt"] for each in rest] == [1]
    for unknown in ("1", f"{job.id}-3", f"{job.id}-x", f"{job.id}-{'9' * 30}", "ftjob-other-1"):
        assert list_attempts(http, job, after=unknown) == []


def test_a_lost_attempt_records_no_log(session: Session, job: Job) -> None:
    number = acquire(session)
    states.transition(session, job.id, to=JobState.CANCELLED)
    with pytest.raises(LeaseLost):
        attempts.record_log(session, job.id, number, "late")
