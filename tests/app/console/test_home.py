"""The home page: first steps, running jobs, reasons for waiting, and live updates of all of it."""

from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.db.session import SessionMaker
from app.db.tables import JobMetric, JobState, Project
from tests.app.console.conftest import find_accessibility_violations, open_session
from tests.factories import make_job
from tests.live_api import Account, Api, create_admin_key

ROW = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'


@pytest.fixture
def make(session: Session, account: Account) -> Callable[..., str]:
    def make(**values: object) -> str:
        project = session.get_one(Project, account.principal.project_id)
        job = make_job(session, project, **values)
        session.commit()
        return job.id

    return make


def test_an_empty_home_leads_to_the_first_job(user: Page) -> None:
    user.goto("/console/")
    link = user.get_by_role("link", name="Start the first job")
    expect(link).to_have_attribute("href", "/console/jobs/new")
    assert find_accessibility_violations(user) == []


def test_a_new_job_appears_without_a_reload(user: Page, http: httpx.Client) -> None:
    user.goto("/console/")
    expect(user.get_by_role("link", name="Start the first job")).to_be_visible()
    upload = http.post(
        "/v1/files", files={"file": ("a.jsonl", ROW * 12)}, data={"purpose": "fine-tune"}
    )
    body = {"model": "base", "training_file": upload.json()["id"], "suffix": "mine"}
    assert http.post("/v1/fine_tuning/jobs", json=body).status_code == 200
    expect(user.get_by_role("link", name="mine")).to_be_visible()
    expect(user.get_by_role("heading", name="Waiting")).to_be_visible()


def test_a_running_job_shows_its_curve_and_a_queued_one_why_it_waits(
    user: Page, session: Session, make: Callable[..., str]
) -> None:
    running = make(state=JobState.RUNNING, suffix="running-one", total_steps=10)
    make(state=JobState.QUEUED, suffix="queued-one")
    for step in range(1, 6):
        values = {"train_loss": 2.0 / step}
        session.add(JobMetric(job_id=running, step=step, attempt=1, values=values))
    session.commit()
    user.goto("/console/")
    expect(user.get_by_text("Step 5 of 10")).to_be_visible()
    expect(user.get_by_role("img", name="Training loss so far")).to_be_visible()
    row = user.get_by_role("row", name="queued-one")
    expect(row).to_contain_text("trainer")
    assert find_accessibility_violations(user) == []


def test_an_admin_without_a_project_is_told_what_to_do(
    page: Page,
    api: Api,
    start_session: Callable[..., str],
    sessions: SessionMaker,
    account: Account,
) -> None:
    open_session(page, api, start_session(create_admin_key(sessions, "acme")))
    page.goto("/console/")
    expect(page.get_by_text("You are logged in as an admin")).to_be_visible()
