"""Query strings of the SDKs: null without a value (Node), lists with brackets (Python)."""

import httpx
import pytest
from sqlalchemy.orm import Session

from app.http import query_params
from tests.live_api import Api, client_with_secret
from tests.tenants import Tenant, make_tenant

JOBS = "/v1/fine_tuning/jobs"
ORGANIZATION = "/v1/organization"


@pytest.fixture
def me(session: Session) -> Tenant:
    return make_tenant(session, "acme", "mine")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", b""),
        (b"after=&limit=2&order=", b"limit=2"),
        (b"after&limit=2", b"limit=2"),
        (b"after=&after=x", b"after=x"),
        (b"metadata[a]=&metadata=&after=", b"metadata[a]=&metadata="),
        (b"metadata%5Ba%5D=&%6Detadata[b]=", b"metadata%5Ba%5D=&%6Detadata[b]="),
        (b"after=%20", b"after=%20"),
        (b"models[]=a&models[]=b%5B%5D", b"models=a&models=b%5B%5D"),
        (b"models%5B%5D=a&models%5b%5d=&limit=1", b"models=a&limit=1"),
        (b"metadata[]=a", b"metadata[]=a"),
    ],
)
def test_query_strings_are_normalized(query: bytes, expected: bytes) -> None:
    assert query_params.normalize(query) == expected


def test_lists_ignore_empty_parameters(api: Api, me: Tenant) -> None:
    ids = me.ids
    empty = "after=&before=&limit=&order=&purpose=&project_id=&include_archived=&hours="
    with (
        client_with_secret(api, me.secret) as project,
        client_with_secret(api, me.admin_secret) as admin,
    ):
        for http, path in (
            (project, JOBS),
            (project, f"{JOBS}/{ids['job']}/events"),
            (project, f"{JOBS}/{ids['job']}/checkpoints"),
            (project, "/v1/files"),
            (project, "/v1/webhook_endpoints"),
            (admin, f"{ORGANIZATION}/projects"),
            (admin, f"{ORGANIZATION}/admin_api_keys"),
            (admin, f"{ORGANIZATION}/projects/{ids['project']}/api_keys"),
            (admin, f"{ORGANIZATION}/projects/{ids['project']}/service_accounts"),
        ):
            plain = _listed(http, path)
            assert plain, f"nothing is listed at {path}"
            assert _listed(http, f"{path}?{empty}") == plain, path


def _listed(http: httpx.Client, path: str) -> list[str]:
    response = http.get(path)
    assert response.status_code == 200, response.text
    return [each["id"] for each in response.json()["data"]]
