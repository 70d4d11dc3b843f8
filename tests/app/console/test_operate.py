"""The operator's page: what runs and what waits, for admins only."""

from collections.abc import Callable

import httpx
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.db.tables import Project
from app.http.console_cookie import COOKIE_NAME
from tests.app.console.conftest import find_accessibility_violations
from tests.factories import make_job
from tests.live_api import Account, Api


def test_an_admin_sees_why_jobs_wait(user: Page, session: Session, account: Account) -> None:
    project = session.get_one(Project, account.principal.project_id)
    job = make_job(session, project)
    session.commit()
    user.goto("/console/operate")
    row = user.get_by_role("row", name=job.id)
    expect(row).to_contain_text("trainer")
    expect(user.get_by_text("No trainer has reported.")).to_be_visible()
    expect(user.get_by_role("heading", name="Slowest routes")).to_be_visible()
    link = user.get_by_role("link", name="Prometheus metrics").get_attribute("href")
    assert link is not None
    assert "luthier_" in user.request.get(link).text()
    assert find_accessibility_violations(user) == []


def test_a_projects_member_does_not(
    api: Api, account: Account, start_session: Callable[..., str]
) -> None:
    cookies = {COOKIE_NAME: start_session(account.secret)}
    response = httpx.get(f"{api.url}/console/operate", cookies=cookies)
    assert response.status_code == 403
    assert "This needs an admin key" in response.text
