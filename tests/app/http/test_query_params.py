"""A parameter without a value is none: so the Node SDK writes one that is null."""

import httpx
import pytest
from sqlalchemy.orm import Session

from app.http import query_params
from tests.live_api import Api, client_with
from tests.tenants import Party, make_party

JOBS = "/v1/fine_tuning/jobs"
ORGANIZATION = "/v1/organization"


@pytest.fixture
def me(session: Session) -> Party:
    return make_party(session, "acme", "mine")


@pytest.mark.parametrize(
    ("query", "left"),
    [
        (b"", b""),
        (b"after=&limit=2&order=", b"limit=2"),
        (b"after&limit=2", b"limit=2"),
        (b"after=&after=x", b"after=x"),
        (b"metadata[a]=&metadata=&after=", b"metadata[a]=&metadata="),
        (b"metadata%5Ba%5D=&%6Detadata[b]=", b"metadata%5Ba%5D=&%6Detadata[b]="),
        (b"after=%20", b"after=%20"),
    ],
)
def test_what_is_left(query: bytes, left: bytes) -> None:
    assert query_params.given(query) == left


def test_lists_are_those_without_parameters(api: Api, me: Party) -> None:
    ids = me.ids
    empty = "after=&before=&limit=&order=&purpose=&project_id=&include_archived=&hours="
    with client_with(api, me.secret) as project, client_with(api, me.admin_secret) as admin:
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
    answer = http.get(path)
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["data"]]
