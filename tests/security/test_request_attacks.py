"""Attacks on keys, tenancy and URLs, by their numbers in the threat list.

A1 to A7 are in `test_tenancy`, those on bodies and uploads with what they attack.
"""

import threading
from typing import Any

import httpx
import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from app.auth import secrets
from app.db.tables import AdminKey, ApiKey, Job, Project
from app.exports import routes as exports
from app.http.request_context import MAX_LOGGED_PATH_CHARS
from app.organization import admin_keys, api_keys
from tests import http_client
from tests.app.http.test_admission import expect_error, wait_for_request_log
from tests.live_api import Account, Api, client_with_secret
from tests.openapi_routes import ENDLESS_PATHS, Operation, operations
from tests.tenants import Tenant, make_tenant

PROJECTS = "/v1/organization/projects"
JOBS = "/v1/fine_tuning/jobs"
# Internal columns.
INTERNAL_COLUMNS = (
    "sha256",
    "storage_key",
    "storage_prefix",
    "version",
    "deleted_at",
    "dedupe_key",
)


@pytest.fixture
def routes(api: Api) -> list[Operation]:
    return operations(httpx.get(f"{api.url}/openapi.json", timeout=60).json())


@pytest.fixture
def me(session: Session) -> Tenant:
    return make_tenant(session, "acme", "mine")


class TestA8BrokenAuthentication:
    def test_modified_keys(self, api: Api, account: Account) -> None:
        secret = account.secret
        other_last = "A" if secret[-1] != "A" else "B"
        for wrong in (secret[:-1], secret[:-1] + other_last, secret + "A", secret.swapcase()):
            with client_with_secret(api, wrong) as client:
                assert expect_error(client.get("/v1/models"), 401)["code"] == "invalid_api_key"

    @pytest.mark.parametrize("kind", [ApiKey, AdminKey])
    def test_expired_key(
        self, api: Api, session: Session, account: Account, kind: type[ApiKey] | type[AdminKey]
    ) -> None:
        who = account.principal
        _, secret = (
            api_keys.create(session, who.project_id, "k", expires_in=-1)
            if kind is ApiKey
            else admin_keys.create(session, who.organization_id, "k", expires_in=-1)
        )
        session.commit()
        with client_with_secret(api, secret) as client:
            expect_error(client.get("/v1/models"), 401)
            expect_error(client.get(PROJECTS), 401)

    def test_key_outside_of_the_authorization_header(self, api: Api, account: Account) -> None:
        secret = account.secret
        with httpx.Client(base_url=api.url, timeout=http_client.TIMEOUT_SECONDS) as client:
            for sent in (
                {"params": {"key": secret}},
                {"headers": {"X-API-Key": secret}},
                {"headers": {"Proxy-Authorization": f"Bearer {secret}"}},
                {"headers": {"Cookie": f"authorization=Bearer {secret}"}},
                {"headers": {"Authorization": secret}},
            ):
                expect_error(client.get("/v1/models", **sent), 401)  # type: ignore[arg-type]

    def test_two_keys_are_refused(self, api: Api, account: Account) -> None:
        """A proxy may have checked one of them, and we would use the other."""
        good, bad = f"Bearer {account.secret}", "Bearer sk-luthier-guess"
        for pair in ((good, bad), (bad, good), (good, good)):
            headers = [("Authorization", value) for value in pair]
            assert "once" in str(
                expect_error(http_client.get(f"{api.url}/v1/models", headers=headers), 401)[
                    "message"
                ]
            )

    def test_two_project_headers(self, http: httpx.Client, account: Account) -> None:
        mine = ("OpenAI-Project", account.principal.project_id)
        headers = [mine, ("OpenAI-Project", "proj_other")]
        assert expect_error(http.get("/v1/models", headers=headers), 401)["code"] == (
            "mismatched_project"
        )
        assert http.get("/v1/models", headers=[mine, mine]).status_code == 200


def test_a9_every_wrong_key_runs_the_same_queries(
    api: Api, account: Account, session: Session
) -> None:
    """Counts queries: times would prove nothing on a busy machine."""
    revoked, secret = api_keys.create(session, account.principal.project_id, "revoked")
    api_keys.revoke(session, revoked.id)
    session.commit()
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        # It runs independently of the requests.
        if threading.current_thread().name != "recorder":
            statements.append(statement)

    event.listen(api.state.database, "before_cursor_execute", note)
    try:
        costs = []
        for guess in (account.secret[:-1] + "!", "sk-admin-guess", "nonsense", secret):
            statements.clear()
            with client_with_secret(api, guess) as client:
                expect_error(client.get("/v1/models"), 401)
            costs.append(list(statements))
    finally:
        event.remove(api.state.database, "before_cursor_execute", note)
    assert costs == [costs[0]] * 4
    assert all("secret_sha256 = " in statement for statement in costs[0])


class TestA11MassAssignment:
    def test_of_a_project(self, admin_http: httpx.Client, session: Session) -> None:
        sent = {"id": "proj_mine", "organization_id": "org-x", "status": "archived"}
        project = admin_http.post(PROJECTS, json={"name": "a", "archived_at": 1, **sent}).json()
        assert project["id"] != "proj_mine"
        assert (project["status"], project["archived_at"]) == ("active", None)
        assert session.get_one(Project, project["id"]).organization_id != "org-x"

    def test_of_a_service_account(self, admin_http: httpx.Client, me: Tenant) -> None:
        path = f"{PROJECTS}/{me.ids['project']}/service_accounts"
        body = {"name": "a", "role": "owner", "project_id": "x"}
        created = admin_http.post(path, json=body).json()
        assert created["role"] == "member"
        change = {"id": "x", "created_at": 1}
        renamed = admin_http.post(f"{path}/{created['id']}", json=change).json()
        assert (renamed["id"], renamed["created_at"]) == (created["id"], created["created_at"])

    def test_of_a_job(self, api: Api, me: Tenant, session: Session) -> None:
        sent = {
            "id": "ftjob-mine",
            "project_id": "proj_x",
            "status": "succeeded",
            "state": "succeeded",
            "fine_tuned_model": "ft:mine",
            "trained_tokens": 5,
            "result_files": ["file-x"],
            "priority": 100,
        }
        body = {"model": "base", "training_file": me.ids["file"], **sent}
        with client_with_secret(api, me.secret) as client:
            job_id = client.post(JOBS, json=body).json()["id"]
        job = session.get_one(Job, job_id)
        assert (job.project_id, job.state, job.priority) == (
            me.ids["project"],
            "validating_files",
            0,
        )
        assert (job.fine_tuned_model, job.trained_tokens) == (None, None)


def test_a12_no_response_contains_internals(
    api: Api, me: Tenant, routes: list[Operation], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No trainer runs here, which would make the export of an own model.
    monkeypatch.setattr(exports, "MAX_WAIT_SECONDS", -1.0)
    with (
        client_with_secret(api, me.secret) as project,
        client_with_secret(api, me.admin_secret) as admin,
    ):
        leaks = {}
        for operation in routes:
            if operation.method != "GET" or operation.path in ENDLESS_PATHS:
                continue
            http = admin if operation.keys == ("Admin API key",) else project
            ids = {
                slot: me.ids[slot.kind] for slot in operation.id_slots if slot.location == "path"
            }
            text = operation.request(http, ids).text
            leaked = [name for name in INTERNAL_COLUMNS if f'"{name}"' in text]
            # A file's hash is its owner's, who can tell by it what a job was trained on.
            if operation.path.startswith("/v1/files"):
                leaked = [name for name in leaked if name != "sha256"]
            leaked += [secret for secret in (me.secret, me.admin_secret) if secret in text]
            if leaked or "Traceback" in text:
                leaks[str(operation)] = leaked
    assert leaks == {}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/organization/projects/",
        "/v1/organization//projects",
        "//v1/organization/projects",
        "/V1/Organization/Projects",
        "/v1/files/..%2forganization/projects",
        "/v1/files/%2e%2e/organization/projects",
        "/v1/organization%2fprojects",
        "/v1/organization/projects;x=1",
        "/v1/organization/projects%20",
        "/v1/models/x%2f..%2f..%2forganization/projects",
        "/v1/fine_tuning/checkpoints/x/permissions",
    ],
)
def test_a13_no_spelling_reaches_the_admin_routes(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    assert response.status_code in (401, 403, 404), response.text


@pytest.mark.parametrize(
    "header", ["X-HTTP-Method-Override", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"]
)
def test_a13_no_header_overrides_method_or_url(
    http: httpx.Client, me: Tenant, api: Api, header: str
) -> None:
    path = f"/v1/files/{me.ids['file']}"
    with client_with_secret(api, me.secret) as client:
        for value in ("DELETE", PROJECTS):
            assert client.get(path, headers={header: value}).json()["id"] == me.ids["file"]


def test_a32_proxy_headers_are_ignored(http: httpx.Client) -> None:
    plain = http.get(PROJECTS)
    spoofed = http.get(
        PROJECTS,
        headers={
            "Host": "evil.example",
            "Forwarded": "for=127.0.0.1;host=evil.example",
            "X-Forwarded-For": "127.0.0.1",
            "X-Forwarded-Host": "evil.example",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Prefix": "/evil",
        },
    )
    assert (spoofed.status_code, spoofed.text) == (plain.status_code, plain.text)
    assert "evil" not in str(spoofed.headers)


@pytest.mark.parametrize(
    "strange",
    [
        "..%2f..%2f..%2fapi_key",
        "%2e%2e",
        "a%00b",
        "%EF%BC%8E%EF%BC%8E%2f",
        "%0d%0aX:1",
        "'%20OR%20'1'='1",
        "x%27;DROP%20TABLE%20jobs;--",
        "a" * 4000,
        "%ff%fe",
        "%25",
    ],
)
def test_a34_a35_hostile_ids_match_nothing(
    api: Api, me: Tenant, routes: list[Operation], strange: str
) -> None:
    """In every path and query parameter of the GET routes."""
    odd = {}
    with (
        client_with_secret(api, me.secret) as project,
        client_with_secret(api, me.admin_secret) as admin,
    ):
        for operation in routes:
            http = admin if operation.keys == ("Admin API key",) else project
            mine = {
                slot: me.ids[slot.kind] for slot in operation.id_slots if slot.location == "path"
            }
            for slot in operation.id_slots if operation.method == "GET" else ():
                response = operation.request(http, mine | {slot: strange})
                # An unknown cursor yields an empty page.
                empty = response.is_success and response.json().get("data") == []
                if response.status_code not in (400, 404) and not empty:
                    odd[f"{operation}: {slot.name}"] = (response.status_code, response.text)
    assert odd == {}


def test_a36_log_lines_cannot_be_forged(http: httpx.Client, account: Account) -> None:
    with capture_logs() as lines:
        http.get("/v1/files/x%0a%7b%22event%22:%22forged%22%7d%1b[31m")
        line = wait_for_request_log(lines, account)
    assert line["status"] == 404
    assert "forged" not in [line["event"] for line in lines]


def test_a43_no_key_is_ever_logged(
    api: Api, account: Account, admin_secret: str, session: Session
) -> None:
    guess = secrets.generate(api_keys.PREFIX)
    with capture_logs() as lines:
        for secret in (account.secret, admin_secret, guess):
            with client_with_secret(api, secret) as client:
                client.get(PROJECTS)
                client.get("/v1/models", params={"after": secret})
                client.post(JOBS, json={"model": secret, "training_file": "x"})
        account_body = http_client.post(
            f"{api.url}{PROJECTS}/{account.principal.project_id}/service_accounts",
            json={"name": "ci"},
            headers={"Authorization": f"Bearer {admin_secret}"},
        ).json()
    log_text = str(lines)
    assert "'event': 'request'" in log_text
    for secret in (account.secret, admin_secret, guess, account_body["api_key"]["value"]):
        assert secret not in log_text


def test_a45_a_long_path_is_cut_in_the_access_log(
    api: Api, account: Account, http: httpx.Client
) -> None:
    path = "/v1/" + "://a:" * 10_000
    with capture_logs() as logs:
        assert http.get(api.url + path).status_code == 404
        record = wait_for_request_log(logs, account)
    assert record["path"] == path[:MAX_LOGGED_PATH_CHARS]
