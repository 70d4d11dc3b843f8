"""Routes of /v1/organization/projects, with the official client."""

import httpx
import pytest
from openai import NotFoundError, OpenAI
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.session import SessionMaker, transaction
from app.db.tables import Job, JobEvent, Project
from app.errors import Forbidden
from app.jobs import service as jobs
from app.organization import bootstrap, projects
from tests.app.http.test_admission import expect_error
from tests.factories import make_file, make_job
from tests.live_api import Account

PROJECTS = "/v1/organization/projects"


def test_create(admin: OpenAI, session: Session, account: Account) -> None:
    created = admin.admin.organization.projects.create(name="Räume & Träume")
    assert created.id.startswith("proj_")
    assert (created.name, created.status, created.archived_at) == ("Räume & Träume", "active", None)
    assert (created.residency, created.external_key_id) == ("GLOBAL", None)
    row = session.get_one(Project, created.id)
    assert row.organization_id == account.principal.organization_id
    assert created.created_at == int(row.created_at.timestamp())
    assert admin.admin.organization.projects.retrieve(created.id) == created


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"name": "red \x1b[31m"}, "name"),
        ({"name": 5}, "name"),
        ({"name": "a", "residency": "EU_STORAGE_PROCESSING"}, "residency"),
        ({"name": "a", "external_key_id": "key"}, "external_key_id"),
    ],
)
def test_invalid_values_are_rejected(
    admin_http: httpx.Client, body: dict[str, object], param: str
) -> None:
    assert expect_error(admin_http.post(PROJECTS, json=body), 400)["param"] == param


def test_retry_creates_no_second_project(admin: OpenAI, admin_http: httpx.Client) -> None:
    """Neither with an Idempotency-Key, nor on an SDK's own retry."""
    for headers in ({"Idempotency-Key": "once"}, {"X-Stainless-Retry-Count": "1"}):
        body = {"name": str(headers)}
        first, again = (admin_http.post(PROJECTS, json=body, headers=headers) for _ in range(2))
        assert first.json() == again.json()
        names = [project.name for project in admin.admin.organization.projects.list()]
        assert names.count(str(headers)) == 1


def test_rename(admin: OpenAI) -> None:
    created = admin.admin.organization.projects.create(name="before")
    renamed = admin.admin.organization.projects.update(created.id, name="after")
    assert (renamed.id, renamed.name) == (created.id, "after")
    assert admin.admin.organization.projects.update(created.id).name == "after"


def test_pages(admin: OpenAI, account: Account) -> None:
    created = [admin.admin.organization.projects.create(name=f"p{n}").id for n in range(4)]
    newest_first = [*reversed(created), account.principal.project_id]
    page = admin.admin.organization.projects.list(limit=2)
    assert [project.id for project in page.data] == newest_first[:2]
    assert (page.has_more, page.last_id) == (True, newest_first[1])
    assert [project.id for project in page] == newest_first


def test_unknown_project(admin: OpenAI, admin_http: httpx.Client) -> None:
    with pytest.raises(NotFoundError) as raised:
        admin.admin.organization.projects.retrieve("proj_unknown")
    assert raised.value.body == {
        "message": "No such project: proj_unknown",
        "type": "invalid_request_error",
        "param": "project_id",
        "code": None,
    }
    expect_error(admin_http.post(f"{PROJECTS}/proj_unknown/archive"), 404)
    assert admin_http.get(f"{PROJECTS}?after=proj_unknown").json()["data"] == []
    for limit in ("0", "101", "x"):
        expect_error(admin_http.get(f"{PROJECTS}?limit={limit}"), 400)


class TestArchive:
    def test_keys_stop_working_at_once(
        self, admin: OpenAI, http: httpx.Client, account: Account
    ) -> None:
        assert http.get("/v1/models").status_code == 200
        archived = admin.admin.organization.projects.archive(account.principal.project_id)
        assert archived.status == "archived"
        assert archived.archived_at is not None
        assert expect_error(http.get("/v1/models"), 401)["code"] == "invalid_api_key"
        assert admin.admin.organization.projects.archive(archived.id) == archived

    def test_jobs_are_cancelled(self, admin: OpenAI, session: Session, account: Account) -> None:
        mine = session.get_one(Project, account.principal.project_id)
        states = ("validating_files", "queued", "running", "paused", "succeeded", "failed")
        created = {state: make_job(session, mine, state=state).id for state in states}
        session.commit()
        admin.admin.organization.projects.archive(mine.id)
        session.expire_all()
        ended = {state: session.get_one(Job, id_).state for state, id_ in created.items()}
        assert ended == dict.fromkeys(states[:4], "cancelled") | {
            "succeeded": "succeeded",
            "failed": "failed",
        }
        assert session.scalar(select(func.count()).select_from(JobEvent)) == 4

    def test_archived_project_cannot_be_used_or_updated(
        self, admin: OpenAI, admin_http: httpx.Client
    ) -> None:
        created = admin.admin.organization.projects.create(name="short")
        admin.admin.organization.projects.archive(created.id)
        path = f"{PROJECTS}/{created.id}"
        for response in (
            admin_http.post(path, json={"name": "longer"}),
            admin_http.get(f"{path}/service_accounts"),
            admin_http.post(f"{path}/service_accounts", json={"name": "late"}),
        ):
            assert "is archived" in str(expect_error(response, 400)["message"])
        assert admin_http.get(f"{path}/api_keys").json()["data"] == []

    def test_list_includes_archived_projects_on_request(
        self, admin: OpenAI, account: Account
    ) -> None:
        created = admin.admin.organization.projects.create(name="short")
        admin.admin.organization.projects.archive(created.id)
        listed = [project.id for project in admin.admin.organization.projects.list()]
        assert listed == [account.principal.project_id]
        every = admin.admin.organization.projects.list(include_archived=True)
        assert {project.id: project.status for project in every} == {
            created.id: "archived",
            account.principal.project_id: "active",
        }

    def test_request_in_flight_creates_no_job(self, session: Session, account: Account) -> None:
        """Its key was still valid when it was authenticated."""
        mine = session.get_one(Project, account.principal.project_id)
        file = make_file(session, mine)
        projects.archive(session, mine.organization_id, mine.id)
        with pytest.raises(Forbidden, match="is archived"):
            jobs.create(session, None, mine.id, file)  # type: ignore[arg-type]

    def test_default_project_is_replaced(self, sessions: SessionMaker, account: Account) -> None:
        with transaction(sessions) as session:
            mine = session.get_one(Project, account.principal.project_id)
            projects.archive(session, mine.organization_id, mine.id)
            fresh = bootstrap.ensure_default_project(session, "acme")
            assert fresh.id != mine.id
            assert fresh.archived_at is None
