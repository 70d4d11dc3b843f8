"""Admission: API keys, concurrency limits, URLs, invalid bodies; errors in OpenAI's envelope."""

import gzip
import http.client
import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI, Request
from sqlalchemy.orm import Session
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.db.session import SessionMaker, transaction
from app.files.uploads import MAX_PART_BYTES
from app.http import admission
from app.http.admission import AdmissionMiddleware
from app.http.dependencies import AppState, run_autocommit
from app.http.fair_limiter import request_owner
from app.organization import api_keys
from tests import http_client
from tests.live_api import Account, Api, client_with_secret
from tests.live_server import run_server
from tests.polling import wait_until

T = TypeVar("T")


class Busy(NamedTuple):
    url: str
    inside: threading.Semaphore
    done: threading.Event


def expect_error(response: httpx.Response, status: int) -> dict[str, str | None]:
    """Assert that a response is an error with this status. Returns the error in its envelope."""
    assert response.status_code == status, response.text
    error: dict[str, str | None] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"].startswith("req_")
    return error


def wait_for_request_log(lines: list[EventDict], account: Account) -> EventDict:
    """The access log line of the account's only request, which is written after the response."""

    def matching_lines() -> list[EventDict]:
        key = account.principal.key_id
        return [line for line in lines if line["event"] == "request" and line["key"] == key]

    wait_until("the request is logged", matching_lines)
    (line,) = matching_lines()
    return line


class TestKeys:
    def ask(
        self, api: Api, authorization: bytes | None, path: str = "/v1/models"
    ) -> httpx.Response:
        headers = [] if authorization is None else [(b"authorization", authorization)]
        return http_client.get(api.url + path, headers=headers)

    @pytest.mark.parametrize("authorization", [None, b"", b"Bearer", b"Basic eDp5"])
    def test_missing_key(self, api: Api, authorization: bytes | None) -> None:
        response = self.ask(api, authorization)
        error = expect_error(response, 401)
        assert error["code"] == "invalid_api_key"
        assert error["type"] == "invalid_request_error"
        assert "You didn't provide an API key" in str(error["message"])
        assert response.headers["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize(
        ("secret", "redacted"),
        [
            (b"sk-luthier-0123456789abcd", "sk-l\N{HORIZONTAL ELLIPSIS}abcd"),
            (b"My Admin API Key", "My A\N{HORIZONTAL ELLIPSIS} Key"),
            (b"short", "\N{HORIZONTAL ELLIPSIS}"),
            ("schlüssel-ohne-schloß".encode(), "provided: schl\N{HORIZONTAL ELLIPSIS}"),
        ],
    )
    def test_wrong_key_is_shown_redacted(self, api: Api, secret: bytes, redacted: str) -> None:
        error = expect_error(self.ask(api, b"Bearer " + secret), 401)
        assert error["code"] == "invalid_api_key"
        assert str(error["message"]).startswith("Incorrect API key provided: ")
        assert redacted in str(error["message"])
        assert secret.decode() not in str(error["message"])

    def test_key_in_url_is_refused(self, api: Api, account: Account) -> None:
        response = self.ask(api, None, f"/v1/models?api_key={account.secret}")
        assert "URL" in str(expect_error(response, 401)["message"])

    def test_auth_scheme_is_case_insensitive(self, api: Api, account: Account) -> None:
        assert self.ask(api, f"bearer {account.secret}".encode()).status_code == 200

    def test_revoked_key_stops_working_at_once(
        self, api: Api, account: Account, sessions: SessionMaker
    ) -> None:
        assert self.ask(api, f"Bearer {account.secret}".encode()).status_code == 200
        with transaction(sessions) as session:
            api_keys.revoke(session, account.principal.key_id)
        expect_error(self.ask(api, f"Bearer {account.secret}".encode()), 401)

    def test_error_does_not_wait_for_the_body(self, api: Api) -> None:
        """The body is declared and never sent."""
        address = urlsplit(api.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        connection.putrequest("POST", "/v1/files")
        connection.putheader("Content-Length", str(2**30))
        connection.endheaders()
        response = connection.getresponse()
        assert response.status == 401
        assert response.getheader("connection") == "close"
        connection.close()

    def test_headers_of_another_organization_or_project_are_refused(
        self, http: httpx.Client, account: Account
    ) -> None:
        response = http.get("/v1/models", headers={"OpenAI-Organization": "org-other"})
        assert expect_error(response, 401)["code"] == "mismatched_organization"
        response = http.get("/v1/models", headers={"OpenAI-Project": "proj_other"})
        assert expect_error(response, 401)["code"] == "mismatched_project"
        mine = {
            "OpenAI-Organization": account.principal.organization_id,
            "OpenAI-Project": account.principal.project_id,
        }
        assert http.get("/v1/models", headers=mine).status_code == 200


class TestUrls:
    def test_unknown_route(self, http: httpx.Client) -> None:
        error = expect_error(http.post("/v1/lunch?x=1"), 404)
        assert error["message"] == "Invalid URL (POST /v1/lunch)"

    def test_base_url_without_v1_gets_a_hint(self, api: Api) -> None:
        error = expect_error(http_client.post(f"{api.url}/chat/completions", json={}), 404)
        assert "end your client's base URL with /v1" in str(error["message"])

    def test_wrong_method_lists_the_allowed_ones(self, http: httpx.Client) -> None:
        response = http.put("/v1/files")
        assert expect_error(response, 405)["message"] == "Not allowed to PUT on /v1/files."
        assert response.headers["allow"]

    def test_no_redirect_to_the_host_header(self, http: httpx.Client) -> None:
        expect_error(http.get("/v1/files/", headers={"Host": "evil.example"}), 404)

    @pytest.mark.parametrize("path", ["/v1/files/%00", "/v1/files/..%2f..%2fapi_key"])
    def test_invalid_characters_in_path(self, http: httpx.Client, path: str) -> None:
        expect_error(http.get(path), 404)

    @pytest.mark.parametrize(
        "query", ["after=%00", "metadata[a]=%00", "limit=-1", "limit=1.5", "limit=1e9"]
    )
    def test_invalid_query_values(self, http: httpx.Client, query: str) -> None:
        expect_error(http.get(f"/v1/fine_tuning/jobs?{query}"), 400)

    def test_api_docs_need_no_key_and_no_network(self, api: Api) -> None:
        page = http_client.get(f"{api.url}/docs")
        assert page.status_code == 200
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert loaded
        for path in loaded:
            assert path.startswith("/"), "the page needs the network"
            assert http_client.get(f"{api.url}{path}").status_code == 200
        document = http_client.get(f"{api.url}/openapi.json").json()
        created = document["paths"]["/v1/fine_tuning/jobs"]["post"]["responses"]["200"]
        assert created["content"]["application/json"]["schema"]["$ref"].endswith("/JobObject")


class TestBodies:
    def create(self, http: httpx.Client, body: bytes | Iterator[bytes]) -> httpx.Response:
        headers = {"Content-Type": "application/json"}
        return http.post("/v1/fine_tuning/jobs", content=body, headers=headers)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'"text"',
            b"{'model': 1}",
            b'{"model": NaN}',
            b'{"seed": Infinity}',
            b'{"model": "\xff"}',
            b'{"model": "\\ud800"}',
            b'{"model": "a\\u0000b", "training_file": "x"}',
            b'{"a\\u0000b": 1}',
            b"\xff\xfe{\x00}\x00",
            b"[" * 100_000,
            b'{"a":' * 500 + b"1" + b"}" * 500,
            b'{"seed": ' + b"9" * 5000 + b"}",
            b'{"model": 5, "training_file": []}',
            b'{"model": "base", "training_file": "x", "model": null}',
        ],
    )
    def test_invalid_json(self, http: httpx.Client, body: bytes) -> None:
        error = expect_error(self.create(http, body), 400)
        assert error["type"] == "invalid_request_error"
        assert len(str(error["message"])) > 10

    def test_error_names_the_problem(self, http: httpx.Client) -> None:
        assert "cannot be read as JSON" in str(
            expect_error(self.create(http, b"{"), 400)["message"]
        )
        missing = expect_error(self.create(http, b"{}"), 400)
        assert missing["message"] == "Missing required parameter: 'model'."
        assert (missing["param"], missing["code"]) == ("model", "missing_required_parameter")

    def test_form_instead_of_json_gets_a_hint(self, http: httpx.Client) -> None:
        response = http.post("/v1/fine_tuning/jobs", data={"model": "base"})
        assert "Content-Type: application/json" in str(expect_error(response, 400)["message"])

    def test_declared_length_above_the_limit(self, http: httpx.Client) -> None:
        expect_error(self.create(http, b" " * (2**20 + 1)), 413)

    def test_undeclared_length_above_the_limit(self, http: httpx.Client) -> None:
        expect_error(self.create(http, (b" " * 2**16 for _ in range(17))), 413)

    def test_compressed_bodies_are_refused(self, http: httpx.Client) -> None:
        bomb = gzip.compress(b" " * 2**20)
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        expect_error(http.post("/v1/fine_tuning/jobs", content=bomb, headers=headers), 415)


def test_response_headers(http: httpx.Client) -> None:
    response = http.get("/v1/models")
    assert response.headers["openai-version"] == "2020-10-01"
    assert response.headers["openai-organization"] == "acme"
    assert int(response.headers["openai-processing-ms"]) >= 0
    ids = {http.get("/v1/models").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_access_log_line(http: httpx.Client, account: Account) -> None:
    with capture_logs() as lines:
        response = http.get("/v1/models?marker=canary")
        line = wait_for_request_log(lines, account)
    assert line["status"] == response.status_code == 200
    assert (line["method"], line["path"]) == ("GET", "/v1/models")
    assert (line["key"], line["project"]) == (
        account.principal.key_id,
        account.principal.project_id,
    )
    assert line["ms"] >= 0
    log_text = json.dumps(lines, default=str)
    assert "canary" not in log_text
    assert account.secret not in log_text


class TestConcurrencyLimit:
    """A service with two request slots; `/wait` holds one until the test releases it."""

    @pytest.fixture
    def busy(self, api: Api) -> Iterator[Busy]:
        inside, done = threading.Semaphore(0), threading.Event()
        app = FastAPI()

        @app.get("/wait")
        def wait() -> None:
            inside.release()
            done.wait(120)

        @app.get("/healthz")
        @app.get("/readyz")
        @app.get("/crash")
        def respond(request: Request) -> None:
            if request.url.path == "/crash":
                raise RuntimeError("a crash must release its slot too")

        app.add_middleware(
            AdmissionMiddleware,
            state=api.state,
            max_part_bytes=MAX_PART_BYTES,
            max_concurrent_requests=2,
        )
        with run_server(app) as url:
            yield Busy(url, inside, done)
            done.set()

    def test_requests_above_the_limit_get_503(self, busy: Busy) -> None:
        with ThreadPoolExecutor(2) as others:
            waiting = [others.submit(httpx.get, f"{busy.url}/wait", timeout=120) for _ in range(2)]
            for _ in waiting:
                assert busy.inside.acquire(timeout=120)
            for path in ("/wait", "/v1/models", "/docs"):
                response = http_client.get(busy.url + path)
                assert expect_error(response, 503)["type"] == "server_error"
                assert int(response.headers["retry-after"]) >= 1
            for path in ("/healthz", "/readyz"):
                assert http_client.get(busy.url + path).status_code == 200, path
            busy.done.set()
        assert [other.result().status_code for other in waiting] == [200, 200]
        assert http_client.get(f"{busy.url}/wait").status_code == 200

    def test_every_request_releases_its_slot(self, busy: Busy) -> None:
        for _ in range(3):
            expect_error(http_client.get(f"{busy.url}/crash"), 500)
            expect_error(http_client.get(f"{busy.url}/v1/models"), 401)


def test_more_requests_than_threads_are_served(http: httpx.Client) -> None:
    """More concurrent requests than threads, and more threads than database connections."""
    with ThreadPoolExecutor(80) as clients:
        responses = list(clients.map(lambda _: http.get("/v1/fine_tuning/jobs"), range(240)))
    assert {response.status_code for response in responses} == {200}


def test_only_requests_with_one_secret_wait_for_each_others_authentication(
    api: Api, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project's flood must not delay the authentication of others."""
    owners: list[str] = []

    async def record_owner(state: AppState, work: Callable[[Session], T]) -> T:
        owners.append(request_owner.get())
        return await run_autocommit(state, work)

    monkeypatch.setattr(admission, "run_autocommit", record_owner)
    for secret in (account.secret, account.secret, "sk-wrong"):
        with client_with_secret(api, secret) as client:
            client.get("/v1/models")
    own, again, other = owners[:3]
    assert own
    assert own == again != other
    assert account.secret not in own
