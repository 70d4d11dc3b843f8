"""/v1/organization/projects/{project_id}/api_keys, with the official client."""

import httpx
import pytest
from openai import AuthenticationError, NotFoundError, OpenAI

from tests.app.api.conftest import Account, Api, openai_with
from tests.app.api.test_guard import error_of


@pytest.fixture
def project(account: Account) -> str:
    return account.who.project_id


def test_a_key_of_the_command_line_is_the_operators(
    admin: OpenAI, account: Account, project: str
) -> None:
    key = admin.admin.organization.projects.api_keys.retrieve(
        account.who.key_id, project_id=project
    )
    assert (key.name, key.owner_project_access) == ("test", "active")
    assert key.redacted_value == f"sk-l…{account.secret[-4:]}"
    assert key.owner.type == "user"
    assert key.owner.user is not None
    assert (key.owner.user.name, key.owner.user.role) == ("operator", "owner")
    assert key.last_used_at is not None


def test_a_key_of_a_service_account(admin: OpenAI, project: str) -> None:
    made = admin.admin.organization.projects.service_accounts.create(project, name="ci")
    assert made.api_key is not None
    key = admin.admin.organization.projects.api_keys.retrieve(made.api_key.id, project_id=project)
    assert key.owner.type == "service_account"
    assert key.owner.service_account is not None
    assert key.owner.service_account.id == made.id
    assert (key.owner.user, key.last_used_at, key.expires_at) == (None, None, None)
    assert made.api_key.value not in key.model_dump_json()


def test_pages(admin: OpenAI, account: Account, project: str) -> None:
    accounts = admin.admin.organization.projects.service_accounts
    made = [accounts.create(project, name=f"a{n}").api_key for n in range(2)]
    newest_first = [*(key.id for key in reversed(made) if key), account.who.key_id]
    keys = admin.admin.organization.projects.api_keys
    assert [key.id for key in keys.list(project, limit=1)] == newest_first
    assert [key.id for key in keys.list(project, owner_project_access="active")] == newest_first
    assert list(keys.list(project, owner_project_access="inactive")) == []


def test_a_deleted_one_ends_and_its_account_stays(admin: OpenAI, api: Api, project: str) -> None:
    accounts = admin.admin.organization.projects.service_accounts
    keys = admin.admin.organization.projects.api_keys
    made = accounts.create(project, name="ci")
    assert made.api_key is not None
    deleted = keys.delete(made.api_key.id, project_id=project)
    assert (deleted.id, deleted.deleted) == (made.api_key.id, True)
    with openai_with(api, made.api_key.value) as client, pytest.raises(AuthenticationError):
        client.models.list()
    with pytest.raises(NotFoundError):
        keys.retrieve(made.api_key.id, project_id=project)
    with pytest.raises(NotFoundError):
        keys.delete(made.api_key.id, project_id=project)
    assert accounts.retrieve(made.id, project_id=project).name == "ci"


def test_there_is_no_way_to_make_one_but_an_account(admin_http: httpx.Client, project: str) -> None:
    path = f"/v1/organization/projects/{project}/api_keys"
    error_of(admin_http.post(path, json={"name": "x"}), 405)
