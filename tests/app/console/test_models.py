"""Models: lists, live traffic, sharing with another project, deletion."""

import httpx
import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.db.session import SessionMaker, transaction
from app.db.tables import ModelAlias, Project
from app.organization import bootstrap
from tests.app.console.conftest import find_accessibility_violations
from tests.app.jobs.test_routes import make_model
from tests.app.monitoring.test_routes import BASELINE, TUNED, classify
from tests.factories import make_job
from tests.live_api import Account
from tests.live_server import FakeEngine

OTHER = "ft:base:acme:other:Efgh5678"


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


def test_an_alias_is_added_repointed_and_removed(
    user: Page, http: httpx.Client, session: Session, account: Account, tuned: str
) -> None:
    project = session.get_one(Project, account.principal.project_id)
    other = make_model(session, make_job(session, project, base_model="base"), OTHER).name
    user.goto(f"/console/models/{tuned}")
    user.get_by_role("link", name="Give it one").click()
    expect(user.get_by_label("Model or checkpoint")).to_have_value(tuned)
    user.get_by_label("Alias", exact=True).fill("not a name")
    user.get_by_role("button", name="Point the alias to it").click()
    expect(user.locator("#alias-name-error")).to_contain_text("expected 1 to 64 letters")
    expect(user.get_by_label("Model or checkpoint")).to_have_value(tuned)
    user.get_by_label("Alias", exact=True).fill("prod")
    user.get_by_role("button", name="Point the alias to it").click()
    row = user.locator("#aliases").get_by_role("row", name="prod")
    expect(row).to_contain_text(tuned)
    assert find_accessibility_violations(user) == []
    row.get_by_role("link", name="Point elsewhere").click()
    expect(user.get_by_label("Alias", exact=True)).to_have_value("prod")
    user.get_by_label("Model or checkpoint").fill(other)
    user.get_by_role("button", name="Point the alias to it").click()
    expect(row).to_contain_text(other)
    assert http.get("/v1/aliases/prod").json()["model"] == other
    # The page of an alias is that of its model, which has its name.
    user.goto("/console/models/prod")
    expect(user.get_by_role("heading", name=other)).to_be_visible()
    expect(user.get_by_role("button", name="Copy prod")).to_be_visible()
    user.goto("/console/models")
    row.get_by_role("button", name="Remove").click()
    user.locator("dialog[open]").get_by_role("button", name="Remove").click()
    expect(user.get_by_text("An alias is a short name for a model")).to_be_visible()
    assert http.get("/v1/aliases").json()["data"] == []


def test_an_alias_without_its_model_says_so(
    user: Page, session: Session, account: Account, tuned: str
) -> None:
    project_id = account.principal.project_id
    session.add(ModelAlias(project_id=project_id, name="prod", model_name="ft:base:x::Abcd1234"))
    session.commit()
    user.goto("/console/models")
    expect(user.locator("#aliases")).to_contain_text("its model is deleted, or no longer shared")


def test_a_model_that_is_not_ones_own_is_not_found(user: Page) -> None:
    response = user.goto("/console/models/ft:base:others::Abcd1234")
    assert response is not None
    assert response.status == 404
    expect(user.get_by_role("heading", name="Not found")).to_be_visible()
