"""Routes of /v1/organization/admin_api_keys with the official client; access of each key kind."""

import httpx
import pytest
from openai import AuthenticationError, NotFoundError, OpenAI, PermissionDeniedError

from app.db.session import SessionMaker
from tests.app.http.test_admission import expect_error
from tests.live_api import Account, Api, create_admin_key, openai_client


def test_new_key_works(admin: OpenAI, api: Api) -> None:
    created = admin.admin.organization.admin_api_keys.create(name="ops", expires_in_seconds=3600)
    assert created.id.startswith("key_")
    assert created.value.startswith("sk-admin-")
    assert created.redacted_value == f"sk-a…{created.value[-4:]}"
    assert created.expires_at is not None
    assert created.last_used_at is None
    assert (created.owner.type, created.owner.role, created.owner.name) == (
        "user",
        "owner",
        "operator",
    )
    with openai_client(api, created.value) as client:
        assert client.admin.organization.projects.list().data
    retrieved = admin.admin.organization.admin_api_keys.retrieve(created.id)
    assert retrieved.last_used_at is not None
    assert created.value not in retrieved.model_dump_json()


def test_pages(admin: OpenAI) -> None:
    admin_keys = admin.admin.organization.admin_api_keys
    first = admin_keys.list().data[0].id
    created = [admin_keys.create(name=f"k{n}").id for n in range(3)]
    oldest_first = [first, *created]
    assert [key.id for key in admin_keys.list(limit=2)] == oldest_first
    assert [key.id for key in admin_keys.list(limit=3, order="desc")] == oldest_first[::-1]


def test_deleted_key_stops_working(admin: OpenAI, api: Api) -> None:
    created = admin.admin.organization.admin_api_keys.create(name="ops")
    assert admin.admin.organization.admin_api_keys.delete(created.id).deleted
    with openai_client(api, created.value) as client, pytest.raises(AuthenticationError):
        client.admin.organization.projects.list()
    with pytest.raises(NotFoundError):
        admin.admin.organization.admin_api_keys.retrieve(created.id)
    with pytest.raises(NotFoundError, match=f"No such admin API key: {created.id}"):
        admin.admin.organization.admin_api_keys.delete(created.id)


def test_keys_of_another_organization_are_invisible(
    admin: OpenAI, api: Api, sessions: SessionMaker
) -> None:
    mine = admin.admin.organization.admin_api_keys.list().data[0]
    with openai_client(api, create_admin_key(sessions, "others")) as other_admin:
        listed = other_admin.admin.organization.admin_api_keys.list().data
        assert mine.id not in [key.id for key in listed]
        with pytest.raises(NotFoundError):
            other_admin.admin.organization.admin_api_keys.delete(mine.id)


class TestPermissions:
    def test_admin_key_has_no_access_to_projects(
        self, admin: OpenAI, admin_http: httpx.Client
    ) -> None:
        with pytest.raises(PermissionDeniedError) as raised:
            admin.models.list()
        assert raised.value.body == {
            "message": "An admin API key manages projects and their keys, and nothing else. "
            "Use a project's API key here.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
        form = {"file": ("a.jsonl", b"{}")}
        response = admin_http.post("/v1/files", data={"purpose": "fine-tune"}, files=form)
        expect_error(response, 403)

    def test_project_key_has_no_access_to_the_admin_api(self, openai: OpenAI) -> None:
        with pytest.raises(PermissionDeniedError) as raised:
            openai.admin.organization.projects.list()
        assert "insufficient permissions" in raised.value.message
        assert raised.value.code is None
        with pytest.raises(PermissionDeniedError):
            openai.fine_tuning.checkpoints.permissions.list("ft:base:acme::Abcd1234")

    def test_headers_of_another_organization_are_rejected(
        self, admin_http: httpx.Client, account: Account
    ) -> None:
        path = "/v1/organization/projects"
        response = admin_http.get(path, headers={"OpenAI-Organization": "org-other"})
        assert expect_error(response, 401)["code"] == "mismatched_organization"
        headers = {
            "OpenAI-Organization": account.principal.organization_id,
            "OpenAI-Project": account.principal.project_id,
        }
        assert admin_http.get(path, headers=headers).status_code == 200
