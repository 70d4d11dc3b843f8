"""Routes of /v1/organization/projects/{project_id}/service_accounts, with the official client."""

from datetime import timedelta

import httpx
import pytest
from openai import AuthenticationError, BadRequestError, NotFoundError, OpenAI
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from app.db.tables import ApiKey
from tests.app.http.test_admission import expect_error
from tests.live_api import Account, Api, openai_client

UNKNOWN = "svc_acct_unknown"


@pytest.fixture
def project(account: Account) -> str:
    return account.principal.project_id


def test_new_account_has_a_working_key(admin: OpenAI, api: Api, project: str) -> None:
    accounts = admin.admin.organization.projects.service_accounts
    created = accounts.create(project, name="ci")
    assert created.id.startswith("svc_acct_")
    assert (created.name, created.role) == ("ci", "member")
    assert created.api_key is not None
    assert created.api_key.name == "Secret Key"
    assert created.api_key.value.startswith("sk-luthier-")
    assert created.api_key.expires_at is None
    with openai_client(api, created.api_key.value) as client:
        assert client.models.list().data
    retrieved = accounts.retrieve(created.id, project_id=project)
    assert retrieved.model_dump() == created.model_dump(exclude={"api_key"})
    assert [account.id for account in accounts.list(project)] == [created.id]


def test_account_without_a_role_has_no_key(admin: OpenAI, project: str) -> None:
    accounts = admin.admin.organization.projects.service_accounts
    created = accounts.create(project, name="later", create_service_account_only=True)
    assert (created.role, created.api_key) == ("none", None)
    with pytest.raises(BadRequestError, match="has no role"):
        accounts.api_keys.create(created.id, project_id=project)
    assert accounts.update(created.id, project_id=project, role="member").role == "member"
    assert accounts.api_keys.create(created.id, project_id=project).value
    with pytest.raises(BadRequestError, match="nothing that expires"):
        accounts.create(project, name="x", create_service_account_only=True, expires_in_seconds=60)


def test_additional_keys(admin: OpenAI, admin_http: httpx.Client, api: Api, project: str) -> None:
    accounts = admin.admin.organization.projects.service_accounts
    created = accounts.create(project, name="ci")
    key = accounts.api_keys.create(
        created.id, project_id=project, name="nightly", expires_in_seconds=3600
    )
    assert key.name == "nightly"
    assert key.expires_at is not None
    assert key.expires_at - key.created_at in (3599, 3600, 3601)
    path = f"/v1/organization/projects/{project}/service_accounts/{created.id}/api_keys"
    # Clients send this content type even without a body.
    bare = admin_http.post(path, headers={"Content-Type": "application/json"})
    assert bare.json()["name"] == "Secret Key"
    with pytest.raises(BadRequestError, match="no scopes"):
        accounts.api_keys.create(created.id, project_id=project, scopes=["api.model.read"])
    assert accounts.api_keys.create(created.id, project_id=project, scopes=[]).value
    expect_error(admin_http.post(path, json={"expires_in_seconds": 0}), 400)


def test_key_stops_working_when_it_expires(
    admin: OpenAI, api: Api, session: Session, project: str
) -> None:
    created = admin.admin.organization.projects.service_accounts.create(
        project, name="ci", expires_in_seconds=3600
    )
    assert created.api_key is not None
    with openai_client(api, created.api_key.value) as client:
        client.models.list()
        past = func.clock_timestamp() - timedelta(seconds=1)
        session.execute(
            update(ApiKey).where(ApiKey.id == created.api_key.id).values(expires_at=past)
        )
        session.commit()
        with pytest.raises(AuthenticationError):
            client.models.list()


def test_update(admin: OpenAI, project: str) -> None:
    accounts = admin.admin.organization.projects.service_accounts
    created = accounts.create(project, name="ci")
    changed = accounts.update(created.id, project_id=project, name="cd", role="owner")
    assert (changed.name, changed.role) == ("cd", "owner")
    assert accounts.update(created.id, project_id=project) == changed


def test_deleted_accounts_keys_stop_working(admin: OpenAI, api: Api, project: str) -> None:
    accounts = admin.admin.organization.projects.service_accounts
    created, other = (accounts.create(project, name=name) for name in ("ci", "cd"))
    second = accounts.api_keys.create(created.id, project_id=project)
    deleted = accounts.delete(created.id, project_id=project)
    assert (deleted.id, deleted.deleted) == (created.id, True)
    assert created.api_key is not None
    assert other.api_key is not None
    for secret in (created.api_key.value, second.value):
        with openai_client(api, secret) as client, pytest.raises(AuthenticationError):
            client.models.list()
    with openai_client(api, other.api_key.value) as client:
        client.models.list()
    assert [account.id for account in accounts.list(project)] == [other.id]
    with pytest.raises(NotFoundError):
        accounts.retrieve(created.id, project_id=project)
    with pytest.raises(NotFoundError, match=f"No such service account: {created.id}"):
        accounts.delete(created.id, project_id=project)


def test_pages(admin: OpenAI, project: str) -> None:
    accounts = admin.admin.organization.projects.service_accounts
    created = [accounts.create(project, name=f"a{n}").id for n in range(3)]
    page = accounts.list(project, limit=2)
    assert [account.id for account in page.data] == created[:0:-1]
    # Deleting an account does not interrupt a client's pagination.
    accounts.delete(created[1], project_id=project)
    assert [account.id for account in page] == created[::-1]


def test_unknown_account(admin_http: httpx.Client, project: str) -> None:
    path = f"/v1/organization/projects/{project}/service_accounts/{UNKNOWN}"
    for response in (
        admin_http.get(path),
        admin_http.post(path, json={"name": "x"}),
        admin_http.delete(path),
        admin_http.post(f"{path}/api_keys"),
    ):
        assert expect_error(response, 404)["message"] == f"No such service account: {UNKNOWN}"
