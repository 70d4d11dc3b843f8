"""Logs that tell who did what, behind a proxy and under a flood; answers that no one keeps."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from sqlalchemy import select
from structlog.testing import capture_logs

from app.auth import secrets
from app.db.session import SessionMaker, transaction
from app.db.tables import ApiKey, IdempotencyRecord
from app.http import admission
from app.http.access_log import AccessLog
from app.http.rate_limits import RateLimit
from app.main import create_app
from app.settings import Settings
from tests import http_client
from tests.live_api import Account, Api, create_admin_key
from tests.live_server import run_server

PROJECTS = "/v1/organization/projects"
ENDPOINTS = "/v1/webhook_endpoints"
HOOK = {
    "name": "hook",
    "url": "https://1.1.1.1/hook",
    "event_types": ["fine_tuning.job.succeeded"],
}
Serve = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def security_log(tmp_path: Path) -> Path:
    return tmp_path / "security.log"


@pytest.fixture
def serve(api: Api, security_log: Path) -> Serve:
    """Serve the API with a security log of its own, behind a proxy on this machine."""

    @contextmanager
    def run(**changes: Any) -> Iterator[str]:
        changed = {"trusted_proxies": "127.0.0.1", "security_log": str(security_log), **changes}
        with run_server(
            create_app(Settings(**{**api.state.settings.model_dump(), **changed}))
        ) as url:
            yield url

    return run


def request(url: str, secret: str | None, *, client: str, **options: Any) -> httpx.Response:
    """A request as a proxy passes it on for this client."""
    headers = {"X-Forwarded-For": client, **options.pop("headers", {})}
    if secret is not None:
        headers["Authorization"] = f"Bearer {secret}"
    method = options.pop("method", "GET")
    timeout = http_client.TIMEOUT_SECONDS
    return httpx.request(method, url, headers=headers, timeout=timeout, **options)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def select_fields(path: Path, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(line.get(name) for name in names) for line in lines(path)]


class TestA67FailedAuthentication:
    def test_each_client_behind_a_proxy_is_counted_for_itself(
        self, serve: Serve, account: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(admission, "FAILED_AUTH_LIMIT", RateLimit(requests=3, bytes=1))
        with serve() as url:
            statuses = [
                request(f"{url}/v1/models", "sk-luthier-wrong", client=client).status_code
                for client in ("192.0.2.1", "192.0.2.2")
                for _ in range(4)
            ]
        assert statuses == [401, 401, 401, 429] * 2

    def test_without_a_trusted_proxy_the_header_means_nothing(
        self, serve: Serve, security_log: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(admission, "FAILED_AUTH_LIMIT", RateLimit(requests=3, bytes=1))
        with serve(trusted_proxies="") as url:
            statuses = [
                request(f"{url}/v1/models", "sk-luthier-wrong", client=f"192.0.2.{n}").status_code
                for n in range(4)
            ]
        assert statuses == [401, 401, 401, 429]
        assert {line["address"] for line in lines(security_log)} == {"127.0.0.1"}

    def test_the_security_log_tells_who_was_refused_and_why(
        self, serve: Serve, account: Account, sessions: SessionMaker, security_log: Path
    ) -> None:
        key = account.principal.key_id
        with serve() as url:
            for client, secret in (
                ("192.0.2.1", None),
                ("192.0.2.2", "sk-luthier-unknown"),
                ("192.0.2.3", account.secret),
                ("192.0.2.3", account.secret),
            ):
                request(f"{url}/v1/models", secret, client=client)
                if client == "192.0.2.2":
                    with transaction(sessions) as session:
                        secrets.revoke(session, ApiKey, ApiKey.id == key)
        names = ("event", "address", "reason", "key", "project", "count")
        event = "authentication.failed"
        revoked = ("revoked key", key, account.principal.project_id, 1)
        assert select_fields(security_log, *names) == [
            (event, "192.0.2.1", None, None, None, 1),
            (event, "192.0.2.2", "unknown key", None, None, 1),
            (event, "192.0.2.3", *revoked),
            # The second one, counted when the server ended.
            (event, "192.0.2.3", *revoked),
        ]
        assert account.secret not in security_log.read_text()


def test_a67_admin_requests_and_changes_of_secrets_are_recorded(
    serve: Serve, account: Account, sessions: SessionMaker, security_log: Path
) -> None:
    admin = create_admin_key(sessions, "acme")
    with serve() as url:
        request(f"{url}{PROJECTS}", admin, client="192.0.2.1")
        body = {"name": "new project"}
        request(f"{url}{PROJECTS}", admin, client="192.0.2.1", method="POST", json=body)
        request(f"{url}{PROJECTS}", account.secret, client="192.0.2.2", method="POST", json=body)
        hook = request(
            f"{url}{ENDPOINTS}", account.secret, client="192.0.2.3", method="POST", json=HOOK
        ).json()
        path = f"{ENDPOINTS}/{hook['id']}/rotate_secret"
        request(f"{url}{path}", account.secret, client="192.0.2.3", method="POST")
        request(f"{url}/v1/models", account.secret, client="192.0.2.3")
    found = select_fields(security_log, "event", "address", "method", "path", "status")
    assert found == [
        ("admin.request", "192.0.2.1", "POST", PROJECTS, "200"),
        ("access.denied", "192.0.2.2", None, None, None),
        ("secret.request", "192.0.2.3", "POST", ENDPOINTS, "200"),
        ("secret.request", "192.0.2.3", "POST", path, "200"),
    ]
    assert all(line["request_id"].startswith("req_") for line in lines(security_log))
    assert "whsec_" not in security_log.read_text()


def test_a67_a_key_at_its_limit_is_recorded_once_a_minute(
    serve: Serve, account: Account, security_log: Path
) -> None:
    limited = {"rate_limit_requests_per_minute": 2, "redis_url": "redis://127.0.0.1:1/0"}
    with serve(**limited) as url:
        for _ in range(12):
            request(f"{url}/v1/models", account.secret, client="192.0.2.1")
    principal = account.principal
    expected = ("limit.reached", principal.key_id, principal.project_id)
    assert select_fields(security_log, "event", "key", "project", "count") == [
        (*expected, 1),
        (*expected, 9),
    ]


class TestA67AccessLog:
    def test_lines_have_the_clients_address(self, serve: Serve, account: Account) -> None:
        with capture_logs(processors=[_merge_context]) as captured, serve() as url:
            request(f"{url}/v1/models", account.secret, client="192.0.2.1")
        (line,) = [entry for entry in captured if entry["event"] == "request"]
        assert line["address"] == "192.0.2.1"

    def test_a_flood_of_one_key_leaves_room_for_the_lines_of_others(self) -> None:
        access_log = AccessLog(lines_per_minute=5)
        with capture_logs() as captured:
            for _ in range(1_000):
                access_log.write(key="key_flood", status=200, path="/v1/models")
            access_log.write(key="key_other", status=200, path="/v1/models")
            access_log.write(key=None, status=401, path="/v1/models")
            access_log.write(key="key_flood", status=500, path="/v1/models")
            access_log.close()
        listed = [(line["key"], line["status"]) for line in captured if line["event"] == "request"]
        assert listed == [("key_flood", 200)] * 5 + [
            ("key_other", 200),
            (None, 401),
            ("key_flood", 500),
        ]
        (summary,) = [line for line in captured if line["event"] == "requests.not_listed"]
        assert (summary["key"], summary["count"]) == ("key_flood", 995)
        assert summary["statuses"] == {"200": 995}


def _merge_context(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    return {**structlog.contextvars.get_contextvars(), **event}


@pytest.mark.parametrize("path", ["/v1/models", "/v1/nothing", "/healthz", "/v1/files/file-none"])
def test_a67_no_answer_may_be_stored(http: httpx.Client, path: str) -> None:
    assert http.get(path).headers["cache-control"] == "no-store"
    assert httpx.get(f"{http.base_url}{path}").headers["cache-control"] == "no-store"


class TestA67SecretsOfStoredResponses:
    def test_a_stored_response_has_no_secret_and_its_replay_has_it(
        self, http: httpx.Client, sessions: SessionMaker
    ) -> None:
        first, second = (_create_hook(http) for _ in range(2))
        assert second.headers["Idempotent-Replayed"] == "true"
        assert first.json()["signing_secret"].startswith("whsec_")
        assert second.json() == first.json()
        with transaction(sessions) as session:
            stored = session.scalars(select(IdempotencyRecord.response_body)).all()
        assert first.json()["signing_secret"] not in str(stored)
        assert first.json()["id"] in str(stored)

    @pytest.mark.parametrize("action", ["rotate", "delete"])
    def test_a_replay_shows_no_secret_that_has_been_replaced(
        self, http: httpx.Client, action: str
    ) -> None:
        first = _create_hook(http).json()
        path = f"{ENDPOINTS}/{first['id']}"
        if action == "rotate":
            new = http.post(f"{path}/rotate_secret").json()["signing_secret"]
        else:
            new = "none"
            assert http.delete(path).json()["deleted"]
        replayed = _create_hook(http).json()
        assert replayed["signing_secret"] == first["signing_secret_hint"]
        assert new not in str(replayed)


def _create_hook(http: httpx.Client) -> httpx.Response:
    response = http.post(ENDPOINTS, json=HOOK, headers={"Idempotency-Key": "the same"})
    assert response.status_code == 200, response.text
    return response
