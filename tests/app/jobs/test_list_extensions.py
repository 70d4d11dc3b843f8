"""Extensions of the list of jobs: filters, and progress with the reason why a job waits."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from openai import OpenAI
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import Job, JobAttempt, JobLease, JobMetric, Project, TrainerState
from app.jobs import events, trainers
from app.jobs.events import NewEvent
from tests.app.http.test_admission import expect_error
from tests.factories import make_job
from tests.live_api import Account, Api

URL = "/v1/fine_tuning/jobs"
DAY = timedelta(days=1)


@pytest.fixture
def project(session: Session, account: Account) -> Project:
    return session.get_one(Project, account.principal.project_id)


def list_ids(http: httpx.Client, **params: Any) -> list[str]:
    answer = http.get(URL, params=params)
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json()["data"]]


def get_progress(http: httpx.Client, job: Job) -> dict[str, Any]:
    answer = http.get(f"{URL}/{job.id}", params={"include[]": "progress"})
    assert answer.status_code == 200, answer.text
    progress: dict[str, Any] = answer.json()["progress"]
    return progress


class TestFilters:
    def test_status_also_names_states_shown_as_running(
        self, http: httpx.Client, session: Session, project: Project
    ) -> None:
        states = ("queued", "running", "pausing", "finalizing", "paused", "failed")
        jobs = {state: make_job(session, project, state=state).id for state in states}
        session.commit()
        assert list_ids(http, status="failed") == [jobs["failed"]]
        running = {jobs["running"], jobs["pausing"], jobs["finalizing"]}
        assert set(list_ids(http, status="running")) == running
        assert list_ids(http, status="pausing") == [jobs["pausing"]]
        both = http.get(f"{URL}?status[]=queued&status[]=paused").json()["data"]
        assert [job["id"] for job in both] == [jobs["paused"], jobs["queued"]]

    def test_model_and_its_alias(
        self, http: httpx.Client, session: Session, project: Project
    ) -> None:
        of_base = make_job(session, project, base_model="base").id
        tuned = make_job(session, project, base_model="base", start_model="ft:base:acme::x").id
        session.commit()
        assert list_ids(http, model="base") == [of_base]
        assert list_ids(http, model="gpt-4o-mini") == [of_base]
        assert list_ids(http, model="ft:base:acme::x") == [tuned]
        assert list_ids(http, model="other") == []

    def test_method_search_and_time_range(
        self, http: httpx.Client, session: Session, project: Project
    ) -> None:
        now = datetime.now(UTC).replace(microsecond=500_000)
        old = make_job(
            session, project, suffix="Front_desk", method="dpo", created_at=now - 2 * DAY
        )
        new = make_job(session, project, suffix="frontXdesk", created_at=now)
        session.commit()
        assert list_ids(http, method="dpo") == [old.id]
        assert list_ids(http, search="FRONT") == [new.id, old.id]
        assert list_ids(http, search="front_") == [old.id], "_ is no wildcard"
        assert list_ids(http, search=old.id[-8:]) == [old.id]
        second = int(now.timestamp())
        assert list_ids(http, **{"created_at[gte]": second}) == [new.id]
        assert list_ids(http, **{"created_at[gt]": second}) == []
        assert list_ids(http, **{"created_at[lt]": second}) == [old.id]
        assert list_ids(http, **{"created_at[lte]": second, "method": "dpo"}) == [old.id]

    def test_filters_and_metadata_hold_on_every_page(
        self, http: httpx.Client, session: Session, project: Project
    ) -> None:
        found = [
            make_job(session, project, state=state, user_metadata={"team": "desk"}).id
            for state in ("failed", "queued", "failed", "failed")
        ]
        session.commit()
        del found[1]
        params = {"status": "failed", "metadata[team]": "desk", "limit": 1}
        pages = list_ids(http, **params)
        while more := list_ids(http, **params, after=pages[-1]):
            pages += more
        assert pages == found[::-1]

    @pytest.mark.parametrize(
        ("query", "param"),
        [
            ("status=done", "status[0]"),
            ("method=x", "method"),
            ("search=" + "x" * 129, "search"),
            ("include=everything", "include[0]"),
            ("created_at=5", "created_at"),
            ("created_at[after]=5", "created_at"),
            ("created_at[gt]=-1", "created_at[gt]"),
        ],
    )
    def test_rejects_unknown_values(self, http: httpx.Client, query: str, param: str) -> None:
        assert expect_error(http.get(f"{URL}?{query}"), 400)["param"] == param

    def test_jobs_of_other_projects_match_no_filter(
        self, other_tenant: httpx.Client, session: Session, project: Project
    ) -> None:
        job = make_job(session, project, suffix="secret")
        session.commit()
        assert list_ids(other_tenant, search=job.id) == []
        assert list_ids(other_tenant, status="queued") == []


class TestProgress:
    def test_is_absent_unless_included(
        self, http: httpx.Client, openai: OpenAI, session: Session, project: Project
    ) -> None:
        job = make_job(session, project)
        session.commit()
        assert "progress" not in http.get(f"{URL}/{job.id}").json()
        assert "progress" not in http.get(URL).json()["data"][0]
        page = openai.fine_tuning.jobs.list(extra_query={"include": ["progress"]})
        assert page.data[0].model_extra["progress"]["state"] == "queued"  # type: ignore[index]

    def test_a_running_job(self, http: httpx.Client, session: Session, project: Project) -> None:
        job = make_job(
            session, project, state="running", attempt=2, total_steps=10, trained_seconds=61.26
        )
        job.estimated_finish = clock.seconds_from_now(90)  # type: ignore[assignment]
        for attempt in (1, 2):
            session.add(JobAttempt(job_id=job.id, attempt=attempt, trainer="here"))
        for step in (1, 2, 3):
            session.add(JobMetric(job_id=job.id, step=step, attempt=2, values={}))
        session.commit()
        progress = get_progress(http, job)
        assert 80 <= progress.pop("seconds_left") <= 90
        assert progress == {
            "state": "running",
            "step": 3,
            "total_steps": 10,
            "attempts": 2,
            "trained_seconds": 61.3,
            "queue_position": None,
            "waiting": None,
        }

    def test_reasons_of_queued_jobs(
        self, http: httpx.Client, session: Session, project: Project
    ) -> None:
        first = make_job(session, project)
        urgent, last = make_job(session, project, priority=1), make_job(session, project)
        session.commit()
        assert get_progress(http, first)["waiting"]["reason"] == "no_trainer"
        trainers.record_heartbeat(session, "here", state=TrainerState.ACTIVE)
        session.commit()
        progress = [get_progress(http, job) for job in (urgent, first, last)]
        assert [each["queue_position"] for each in progress] == [1, 2, 3]
        assert {each["waiting"]["reason"] for each in progress} == {"queue"}
        assert "2 job(s)" in progress[2]["waiting"]["message"]
        make_job(session, project, state="running")
        project.max_running_jobs = 1
        session.commit()
        waiting = get_progress(http, last)["waiting"]
        assert waiting["reason"] == "project_quota"
        assert "maximum of 1 job(s)" in waiting["message"]

    def test_a_delayed_retry_says_what_happened(
        self, http: httpx.Client, session: Session, project: Project
    ) -> None:
        job = make_job(session, project)
        job.run_after = clock.seconds_from_now(60)  # type: ignore[assignment]
        events.append(session, job, [NewEvent("w", "Too little memory is free.", level="warn")])  # type: ignore[arg-type]
        session.commit()
        waiting = get_progress(http, job)["waiting"]
        assert waiting["reason"] == "retry"
        assert waiting["message"].startswith("Too little memory is free. It is tried again at ")

    @pytest.mark.parametrize(
        ("state", "reason"),
        [
            ("validating_files", "file_check"),
            ("pausing", "pausing"),
            ("paused", "paused"),
            ("running", None),
            ("succeeded", None),
        ],
    )
    def test_reasons_by_state(
        self, http: httpx.Client, session: Session, project: Project, state: str, reason: str | None
    ) -> None:
        job = make_job(session, project, state=state)
        session.commit()
        waiting = get_progress(http, job)["waiting"]
        assert (waiting and waiting["reason"]) == reason

    def test_a_job_that_yields_its_trainer(
        self, http: httpx.Client, session: Session, project: Project
    ) -> None:
        job = make_job(session, project, state="running", attempt=1)
        lease = JobLease(job_id=job.id, attempt=1, trainer="here")
        lease.lease_until = lease.yield_requested_at = clock.seconds_from_now(60)  # type: ignore[assignment]
        session.add(lease)
        session.commit()
        assert get_progress(http, job)["waiting"]["reason"] == "yielding"

    def test_a_page_takes_as_many_queries_as_one_job(
        self, api: Api, http: httpx.Client, session: Session, project: Project
    ) -> None:
        statements: list[str] = []

        def count(*arguments: Any) -> None:
            statements.append(arguments[2])

        def count_queries(limit: int) -> int:
            statements.clear()
            list_ids(http, limit=limit, **{"include[]": "progress"})
            return len(statements)

        for _ in range(3):
            make_job(session, project)
        session.commit()
        engine: Engine = api.state.database
        event.listen(engine, "before_cursor_execute", count)
        try:
            assert count_queries(3) == count_queries(1) > 0
        finally:
            event.remove(engine, "before_cursor_execute", count)


def test_requested_hyperparameters_tell_apart_what_training_chose(
    http: httpx.Client, session: Session, project: Project
) -> None:
    given, chosen = {"n_epochs": 3, "batch_size": "auto"}, {"n_epochs": 3, "batch_size": 4}
    job = make_job(session, project, hyperparameters=given, resolved_hyperparameters=chosen)
    session.commit()
    answer = http.get(f"{URL}/{job.id}", params={"include[]": "requested_hyperparameters"}).json()
    assert answer["requested_hyperparameters"] == given
    assert answer["hyperparameters"]["batch_size"] == 4
    assert "progress" not in answer
    assert "requested_hyperparameters" not in http.get(f"{URL}/{job.id}").json()


class TestLossCurves:
    def test_a_sample_of_each_jobs_loss(
        self, http: httpx.Client, session: Session, project: Project
    ) -> None:
        long, short, silent = (make_job(session, project, state="running") for _ in range(3))
        values = {"train_loss": 1.0, "valid_loss": 9.0}
        rows = [(long, step, values) for step in range(1, 1001)]
        rows += [(short, 1, {"train_loss": 3.0}), (short, 2, {}), (short, 4, {"train_loss": 2.0})]
        rows += [(silent, 1, {"valid_loss": 1.0})]
        session.add_all(JobMetric(job_id=j.id, step=s, attempt=1, values=v) for j, s, v in rows)
        session.commit()
        answer = http.get(URL, params={"include[]": "loss_curve"})
        curves = {job["id"]: job["loss_curve"] for job in answer.json()["data"]}
        assert curves[short.id] == {"steps": [1, 4], "values": [3.0, 2.0]}
        assert curves[silent.id] == {"steps": [], "values": []}
        steps = curves[long.id]["steps"]
        assert (steps[0], steps[-1], len(steps)) == (1, 1000, 64)
        assert curves[long.id]["values"] == [1.0] * 64
        one = http.get(f"{URL}/{short.id}", params={"include[]": "loss_curve"}).json()
        assert one["loss_curve"] == curves[short.id]
        assert "loss_curve" not in http.get(f"{URL}/{short.id}").json()

    def test_a_page_has_few_of_them(self, http: httpx.Client) -> None:
        answer = http.get(URL, params={"include[]": "loss_curve", "limit": 101})
        assert expect_error(answer, 400)["param"] == "limit"
