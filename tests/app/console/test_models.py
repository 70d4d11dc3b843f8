"""Models: lists, live traffic, sharing with another project, deletion."""

import httpx
import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.db.session import SessionMaker, transaction
from app.db.tables import Project
from app.organization import bootstrap
from tests.app.console.conftest import find_accessibility_violations
from tests.app.jobs.test_routes import make_model
from tests.app.monitoring.test_routes import BASELINE, TUNED, classify
from tests.factories import make_job
from tests.live_api import Account
from tests.live_server import FakeEngine


@pytest.fixture
def tuned(session: Session, account: Account, engine: FakeEngine) -> str:
    project = session.get_one(Project, account.principal.project_id)
    values = {"base_model": "encoder", "method": "classification", "drift_baseline": BASELINE}
    name = make_model(session, make_job(session, project, **values), TUNED).name
    session.commit()
    return name


def test_lists_can_be_searched(user: Page, tuned: str) -> None:
    user.goto("/console/models")
    expect(user.get_by_role("link", name=tuned, exact=True)).to_be_visible()
    assert find_accessibility_violations(user) == []
    user.get_by_label("Search models").fill("no such model")
    user.get_by_role("button", name="Search").click()
    expect(user.get_by_text("No model has “no such model” in its name")).to_be_visible()


def test_live_traffic_and_drift_are_shown(user: Page, http: httpx.Client, tuned: str) -> None:
    classify(http, "the bill is wrong", "where is it")
    user.goto(f"/console/models/{tuned}")
    expect(user.get_by_text("1 succeeded, 0 failed")).to_be_visible()
    expect(user.get_by_role("img", name="Requests per hour")).to_be_visible()
    assert find_accessibility_violations(user) == []


def test_a_model_is_shared_and_deleted(user: Page, sessions: SessionMaker, tuned: str) -> None:
    with transaction(sessions) as session:
        organization = bootstrap.ensure_organization(session, "acme")
        session.add(Project(id="proj_other", organization_id=organization.id, name="research"))
    user.goto(f"/console/models/{tuned}")
    expect(user.locator("option")).to_have_text(["research"])
    user.get_by_role("button", name="Share").click()
    user.get_by_role("button", name="Revoke research").click()
    expect(user.get_by_text("Only the project that made it.")).to_be_visible()
    user.get_by_role("button", name="Delete", exact=True).click()
    user.get_by_role("button", name="Delete it").click()
    expect(user.get_by_text("A job that succeeds adds its model here.")).to_be_visible()


def test_a_model_that_is_not_ones_own_is_not_found(user: Page) -> None:
    response = user.goto("/console/models/ft:base:others::Abcd1234")
    assert response is not None
    assert response.status == 404
    expect(user.get_by_role("heading", name="Not found")).to_be_visible()
