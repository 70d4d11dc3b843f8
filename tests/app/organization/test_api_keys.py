"""Routes of /v1/organization/projects/{project_id}/api_keys, with the official client."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from openai import AuthenticationError, BadRequestError, NotFoundError, OpenAI

from app.db.session import SessionMaker
from app.db.tables import ApiKey
from app.errors import NotFound
from app.organization import api_keys as api_keys
from tests.app.http.test_admission import expect_error
from tests.live_api import Account, Api, openai_client

UNKNOWN = "key_unknown"


def build_error(unknown: pytest.ExceptionInfo[NotFoundError], key_id: str) -> dict[str, object]:
    """Build the expected error by inserting this id into that of an unknown key."""
    assert isinstance(unknown.value.body, dict)
    body: dict[str, object] = unknown.value.body
    return body | {"message": str(body["message"]).replace(UNKNOWN, key_id)}


@pytest.fixture
def project(account: Account) -> str:
    return account.principal.project_id


def test_key_from_the_cli_belongs_to_the_operator(
    admin: OpenAI, account: Account, project: str
) -> None:
    key = admin.admin.organization.projects.api_keys.retrieve(
        account.principal.key_id, project_id=project
    )
    assert (key.name, key.owner_project_access) == ("test", "active")
    assert key.redacted_value == f"sk-l…{account.secret[-4:]}"
    assert key.owner.type == "user"
    assert key.owner.user is not None
    assert (key.owner.user.name, key.owner.user.role) == ("operator", "owner")
    assert key.last_used_at is not None


def test_key_of_a_service_account(admin: OpenAI, project: str) -> None:
    created = admin.admin.organization.projects.service_accounts.create(project, name="ci")
    assert created.api_key is not None
    key = admin.admin.organization.projects.api_keys.retrieve(
        created.api_key.id, project_id=project
    )
    assert key.owner.type == "service_account"
    assert key.owner.service_account is not None
    assert key.owner.service_account.id == created.id
    assert (key.owner.user, key.last_used_at, key.expires_at) == (None, None, None)
    assert created.api_key.value not in key.model_dump_json()


def test_pages(admin: OpenAI, account: Account, project: str) -> None:
    accounts = admin.admin.organization.projects.service_accounts
    created = [accounts.create(project, name=f"a{n}").api_key for n in range(2)]
    newest_first = [*(key.id for key in reversed(created) if key), account.principal.key_id]
    keys = admin.admin.organization.projects.api_keys
    assert [key.id for key in keys.list(project, limit=1)] == newest_first
    assert [key.id for key in keys.list(project, owner_project_access="active")] == newest_first
    assert list(keys.list(project, owner_project_access="inactive")) == []


def test_deleted_key_stops_working_and_its_account_stays(
    admin: OpenAI, api: Api, project: str
) -> None:
    accounts = admin.admin.organization.projects.service_accounts
    keys = admin.admin.organization.projects.api_keys
    created = accounts.create(project, name="ci")
    assert created.api_key is not None
    deleted = keys.delete(created.api_key.id, project_id=project)
    assert (deleted.id, deleted.deleted) == (created.api_key.id, True)
    with openai_client(api, created.api_key.value) as client, pytest.raises(AuthenticationError):
        client.models.list()
    with pytest.raises(NotFoundError):
        keys.retrieve(created.api_key.id, project_id=project)
    with pytest.raises(NotFoundError) as again:
        keys.delete(created.api_key.id, project_id=project)
    with pytest.raises(NotFoundError) as unknown:
        keys.delete(UNKNOWN, project_id=project)
    assert again.value.body == build_error(unknown, created.api_key.id)
    assert accounts.retrieve(created.id, project_id=project).name == "ci"


def test_keys_are_created_through_service_accounts_only(
    admin_http: httpx.Client, project: str
) -> None:
    path = f"/v1/organization/projects/{project}/api_keys"
    expect_error(admin_http.post(path, json={"name": "x"}), 405)


class TestModify:
    def test_expiry(self, admin: OpenAI, account: Account, project: str) -> None:
        keys = admin.admin.organization.projects.api_keys
        before = keys.retrieve(account.principal.key_id, project_id=project)
        after = keys.update(account.principal.key_id, project_id=project, expires_in_seconds=3600)
        assert before.expires_at is None
        assert after.expires_at is not None
        retrieved = keys.retrieve(account.principal.key_id, project_id=project)
        assert retrieved.expires_at == after.expires_at
        later = keys.update(account.principal.key_id, project_id=project, expires_in_seconds=7200)
        assert later.expires_at is not None
        assert later.expires_at >= after.expires_at + 3600
        assert keys.update(account.principal.key_id, project_id=project, scopes=[]) == later

    def test_expired_key_cannot_be_updated(
        self, admin: OpenAI, account: Account, project: str, sessions: SessionMaker
    ) -> None:
        with sessions() as session:
            key = session.get_one(ApiKey, account.principal.key_id)
            key.expires_at = key.created_at
            session.commit()
        keys = admin.admin.organization.projects.api_keys
        with pytest.raises(BadRequestError, match="has expired and cannot be updated"):
            keys.update(account.principal.key_id, project_id=project, expires_in_seconds=60)

    def test_scopes_are_rejected(self, admin: OpenAI, account: Account, project: str) -> None:
        keys = admin.admin.organization.projects.api_keys
        with pytest.raises(BadRequestError, match="Keys have no scopes here") as raised:
            keys.update(account.principal.key_id, project_id=project, scopes=["api.all.read"])
        assert raised.value.param == "scopes"

    def test_unknown_key(self, admin: OpenAI, project: str) -> None:
        keys = admin.admin.organization.projects.api_keys
        for change in ({"expires_in_seconds": 60}, {"scopes": []}):
            with pytest.raises(NotFoundError, match=f"No such API key: {UNKNOWN}"):
                keys.update(UNKNOWN, project_id=project, **change)

    @pytest.mark.parametrize(
        "change", [{}, {"scopes": None}, {"expires_in_seconds": None}, {"expires_in_seconds": 0}]
    )
    def test_empty_changes_are_rejected(
        self, admin_http: httpx.Client, account: Account, project: str, change: dict[str, None]
    ) -> None:
        path = f"/v1/organization/projects/{project}/api_keys/{account.principal.key_id}"
        expect_error(admin_http.post(path, json=change), 400)


def test_one_of_two_concurrent_deletions_is_a_404(
    account: Account, project: str, sessions: SessionMaker
) -> None:
    with ThreadPoolExecutor(1) as pool, sessions() as first:
        api_keys.delete(first, project, account.principal.key_id)

        def second() -> None:
            with sessions() as session:
                api_keys.delete(session, project, account.principal.key_id)

        # It finds no key, whether it runs before this commit and waits, or after it.
        late = pool.submit(second)
        first.commit()
        with pytest.raises(NotFound):
            late.result(timeout=60)
