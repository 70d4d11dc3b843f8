"""The list of jobs: filters in the URL, live rows, and one confirmation for several jobs."""

import re
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy.orm import Session

from app.db.tables import Job, JobMetric, JobState, Project
from tests.app.console.conftest import find_accessibility_violations
from tests.factories import make_job
from tests.live_api import Account

# Hostile texts can only be where the API takes any text.
HOSTILE = "<img src=x onerror=alert(1)>"
START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def project(session: Session, account: Account) -> Project:
    return session.get_one(Project, account.principal.project_id)


def get_row(page: Page, job: Job) -> str:
    return page.locator(f"#row-{job.id}").inner_text()


def read_state(session: Session, job: Job) -> str:
    session.expire_all()
    return str(session.get_one(Job, job.id).state)


class TestList:
    def test_shows_progress_and_why_a_job_waits(
        self, user: Page, session: Session, project: Project
    ) -> None:
        running = make_job(session, project, state="running", total_steps=400, suffix="front desk")
        session.add(JobMetric(job_id=running.id, step=100, attempt=1, values={"train_loss": 1.0}))
        paused = make_job(session, project, state="paused")
        failed = make_job(session, project, state="failed", error_message=f"Bad {HOSTILE}")
        session.commit()
        user.goto("/console/jobs")
        assert "100 / 400" in get_row(user, running)
        assert "front desk" in get_row(user, running)
        assert "It is paused until it is resumed." in get_row(user, paused)
        assert HOSTILE in get_row(user, failed)

    def test_an_empty_project_is_led_to_its_first_job(self, user: Page) -> None:
        user.goto("/console/jobs")
        expect(user.get_by_role("link", name="Start the first job")).to_be_visible()

    def test_filters_are_in_the_url_and_hold_for_live_rows(
        self, user: Page, session: Session, project: Project
    ) -> None:
        failed = make_job(session, project, state="failed", suffix="desk", error_message="No.")
        queued = make_job(session, project, state="queued", suffix="desk")
        session.commit()
        user.goto("/console/jobs")
        user.get_by_role("checkbox", name="Failed", exact=True).check()
        expect(user.locator(f"#row-{queued.id}")).to_have_count(0)
        user.get_by_label("Name or id").fill("DESK")
        user.get_by_role("button", name="Filter").click()
        user.wait_for_url("**search=DESK**")
        assert parse_qs(urlsplit(user.url).query) == {"status": ["failed"], "search": ["DESK"]}
        expect(user.locator(f"#row-{failed.id}")).to_be_visible()
        other = make_job(session, project, state="failed", suffix="desk", error_message="No.")
        make_job(session, project, state="failed", suffix="shop", error_message="No.")
        session.commit()
        expect(user.locator(f"#row-{other.id}")).to_be_visible()
        expect(user.locator("tbody tr")).to_have_count(2)

    def test_a_wrong_filter_is_explained(self, user: Page) -> None:
        user.goto("/console/jobs?since=yesterday")
        expect(user.get_by_role("alert")).to_contain_text("Write days as 2026-11-30")
        user.goto("/console/jobs?status=done")
        expect(user.get_by_role("alert")).to_contain_text("status")

    def test_days_are_inclusive(self, user: Page, session: Session, project: Project) -> None:
        jobs = [
            make_job(session, project, created_at=START + timedelta(days=day, hours=12))
            for day in range(3)
        ]
        session.commit()
        user.goto("/console/jobs?since=2026-11-02&until=2026-11-02")
        expect(user.locator("tbody tr")).to_have_count(1)
        expect(user.locator(f"#row-{jobs[1].id}")).to_be_visible()

    def test_pages_lead_to_every_job(self, user: Page, session: Session, project: Project) -> None:
        for number in range(101):
            make_job(session, project, created_at=START + timedelta(seconds=number))
        session.commit()
        user.goto("/console/jobs")
        seen: list[int] = []
        while True:
            seen.append(user.locator("tbody tr").count())
            older = user.get_by_role("link", name="Older")
            if not older.count():
                break
            older.click()
            expect(user.get_by_role("link", name="Newest")).to_be_visible()
            user.wait_for_url(re.compile("after="))
        assert seen == [50, 50, 1]

    def test_is_accessible(self, user: Page, session: Session, project: Project) -> None:
        for state in JobState:
            make_job(session, project, state=state, total_steps=9, error_message="No.")
        session.commit()
        user.goto("/console/jobs?since=2020-01-01")
        expect(user.locator("tbody tr")).to_have_count(len(JobState))
        assert find_accessibility_violations(user) == []


class TestLive:
    def test_a_row_follows_its_job_and_stays_selected(
        self, user: Page, session: Session, project: Project
    ) -> None:
        job = make_job(session, project, state="queued")
        session.commit()
        user.goto("/console/jobs")
        user.locator(f"#select-{job.id}").check()
        session.get_one(Job, job.id).state = JobState.RUNNING
        make_job(session, project)
        session.commit()
        expect(user.locator(f"#row-{job.id}")).to_contain_text("Running")
        expect(user.locator("tbody tr")).to_have_count(2)
        expect(user.locator(f"#select-{job.id}")).to_be_checked()
        expect(user.get_by_text("1 job selected")).to_be_visible()

    def test_starts_when_a_script_comes_late(
        self, user: Page, session: Session, project: Project
    ) -> None:
        def delay(route: Route) -> None:
            time.sleep(0.5)
            route.continue_()

        user.route("**/htmx-sse-*", delay)
        user.goto("/console/jobs")
        job = make_job(session, project)
        session.commit()
        expect(user.locator(f"#row-{job.id}")).to_be_visible()

    def test_updates_can_be_paused(self, user: Page, session: Session, project: Project) -> None:
        first = make_job(session, project)
        session.commit()
        user.goto("/console/jobs")
        with user.expect_event("requestfailed"):
            user.get_by_role("button", name="Pause updates").click()
        second = make_job(session, project)
        session.commit()
        assert user.locator(f"#row-{second.id}").count() == 0
        user.get_by_role("button", name="Updates are paused").click()
        expect(user.locator(f"#row-{second.id}")).to_be_visible()
        expect(user.locator(f"#row-{first.id}")).to_be_visible()


class TestBulkActions:
    def test_one_confirmation_cancels_several_jobs(
        self, user: Page, session: Session, project: Project
    ) -> None:
        jobs = [make_job(session, project, state="queued") for _ in range(3)]
        ended = make_job(session, project, state="failed", error_message="No.")
        session.commit()
        user.goto("/console/jobs")
        expect(user.get_by_role("button", name="Cancel", exact=True)).to_be_disabled()
        user.get_by_label("Select all jobs of this page").check()
        user.get_by_role("button", name="Cancel", exact=True).click()
        dialog = user.get_by_role("dialog", name="Cancel 3 jobs?")
        expect(dialog).to_contain_text("1 job of the selection cannot be cancelled")
        dialog.get_by_role("button", name="Cancel 3 jobs").click()
        expect(dialog).to_be_hidden()
        for job in jobs:
            expect(user.locator(f"#row-{job.id}")).to_contain_text("Cancelled")
            assert read_state(session, job) == "cancelled"
        assert read_state(session, ended) == "failed"

    def test_pause_and_resume(self, user: Page, session: Session, project: Project) -> None:
        job = make_job(session, project, state="queued")
        session.commit()
        user.goto("/console/jobs")
        for action, state in (("Pause", "paused"), ("Resume", "queued")):
            user.locator(f"#select-{job.id}").check()
            user.get_by_role("button", name=action, exact=True).click()
            user.get_by_role("dialog").get_by_role("button", name=f"{action} 1 job").click()
            expect(user.get_by_role("dialog")).to_be_hidden()
            assert read_state(session, job) == state
            expect(user.locator(f'[data-select="{job.id}"][data-status="{state}"]')).to_be_visible()

    def test_a_refusal_of_the_api_is_shown(
        self, user: Page, session: Session, project: Project
    ) -> None:
        job = make_job(session, project, state="paused")
        session.commit()
        user.goto("/console/jobs")
        user.locator(f"#select-{job.id}").check()
        user.get_by_role("button", name="Resume", exact=True).click()
        session.get_one(Job, job.id).state = JobState.CANCELLED
        session.commit()
        user.get_by_role("dialog").get_by_role("button", name="Resume 1 job").click()
        expect(user.get_by_role("dialog")).to_contain_text("cancelled")
        user.get_by_role("button", name="Back").click()
        expect(user.get_by_role("dialog")).to_be_hidden()
