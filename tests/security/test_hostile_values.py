"""Hostile values in parameters and bodies: attacks A19, A21, A29, A31, A35, A36, A42 and A43 of the
threat list."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from openai import OpenAI
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from app.db.session import SessionMaker, transaction
from app.db.tables import Job, Project
from tests import http_client
from tests.app.files.test_routes import END, GOOD, PURPOSE, build_form_part, post
from tests.app.http.test_admission import expect_error
from tests.factories import make_file, make_job
from tests.live_api import Account, Api
from tests.webhook_receivers import run_receiver

JOBS = "/v1/fine_tuning/jobs"
INJECTIONS = (
    "' OR '1'='1",
    "'; DROP TABLE jobs; --",
    '" OR ""="',
    "$1",
    "%s%(x)s",
    "{}",
    "\\",
    "a' UNION SELECT secret_sha256 FROM api_keys --",
    '$.a ? (@ == "1")',
)


@pytest.fixture
def body(http: httpx.Client) -> dict[str, Any]:
    file = post(http, PURPOSE + build_form_part("file", GOOD, filename="train.jsonl") + END).json()
    return {"model": "base", "training_file": file["id"], "metadata": {"a": "1"}}


def count_jobs(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Job)) or 0


@pytest.mark.parametrize("path", [JOBS, "/v1/files", "/v1/webhook_endpoints"])
@pytest.mark.parametrize("limit", ["1e9", "-1", "1.5", "999999999999999999999", "NaN", " ", "0x10"])
def test_a19_invalid_limits(http: httpx.Client, path: str, limit: str) -> None:
    assert expect_error(http.get(path, params={"limit": limit}), 400)["param"] == "limit"


@pytest.mark.parametrize("path", [JOBS, "/v1/files"])
def test_a19_cursor_of_many_kilobytes(http: httpx.Client, path: str) -> None:
    response = http.get(path, params={"after": "x" * 16_000})
    assert response.status_code in (400, 431) or response.json()["data"] == []


@pytest.mark.parametrize(
    "metadata",
    [
        {f"k{number}": "x" * 512 for number in range(17)},
        {"k" * 65: "x"},
        {"k": "x" * 513},
        {"k": {"k": "x"}},
        {"k": "a\0b"},
        {"k\ud800": "x"},
    ],
)
def test_a19_oversized_metadata(
    http: httpx.Client, body: dict[str, Any], metadata: dict[str, Any]
) -> None:
    content = json.dumps(body | {"metadata": metadata})
    headers = {"Content-Type": "application/json"}
    expect_error(http.post(JOBS, content=content, headers=headers), 400)


def test_a29_addresses_in_texts_are_never_fetched(http: httpx.Client) -> None:
    """Images by URL in training files and requests, and addresses where text is expected."""
    with run_receiver() as receiver:
        for url in (receiver.url, "file:///etc/passwd"):
            image = {"type": "image_url", "image_url": {"url": url}}
            messages = [{"role": "user", "content": [image]}, {"role": "assistant", "content": url}]
            line = json.dumps({"messages": messages}).encode()
            file = build_form_part("file", line, filename="train.jsonl")
            assert post(http, PURPOSE + file + END).json()["status"] == "error"
            for path, body in (
                ("chat/completions", {"messages": messages}),
                ("embeddings", {"input": [{"image_url": url}]}),
                ("completions", {"prompt": {"url": url}}),
            ):
                expect_error(http.post(f"/v1/{path}", json={"model": "base", **body}), 400)
        assert receiver.connections == 0


@pytest.mark.parametrize("suffix", ["a" * 40_000 + "!", "a\nb", "a\x7f", "{0.__class__}", "a/../b"])
def test_a21_invalid_suffixes(http: httpx.Client, body: dict[str, Any], suffix: str) -> None:
    assert expect_error(http.post(JOBS, json=body | {"suffix": suffix}), 400)["param"] == "suffix"


@pytest.mark.parametrize("value", ["1e3", "9" * 5000, -1e308, [[]], {"$gt": 0}, -0.0])
@pytest.mark.parametrize("name", ["n_epochs", "batch_size", "learning_rate_multiplier"])
def test_a21_invalid_hyperparameters(
    http: httpx.Client, body: dict[str, Any], name: str, value: object
) -> None:
    error = expect_error(http.post(JOBS, json=body | {"hyperparameters": {name: value}}), 400)
    assert error["param"] == f"hyperparameters.{name}"
    assert len(str(error["message"])) < 1000


class TestA31Surface:
    @pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "CONNECT", "PROPFIND", "PUT"])
    def test_unsupported_methods(self, http: httpx.Client, method: str) -> None:
        response = http.request(method, "/v1/models", headers={"X-Canary": "canary"})
        assert response.status_code in (400, 405)
        assert "canary" not in response.text

    @pytest.mark.parametrize("path", ["/debug", "/.env", "/.git/config", "/admin", "/v1/../.env"])
    def test_paths_that_scanners_request(self, http: httpx.Client, path: str) -> None:
        assert http.get(path).status_code == 404

    def test_no_default_keys(self, api: Api) -> None:
        for secret in ("admin", "test", "sk-luthier", "sk-test", "sk-luthier-", "null"):
            response = http_client.get(
                f"{api.url}/v1/models", headers={"Authorization": f"Bearer {secret}"}
            )
            assert response.status_code == 401

    def test_content_type_sniffing_is_disabled(self, http: httpx.Client) -> None:
        for path in ("/v1/models", "/v1/nothing", "/healthz", "/openapi.json"):
            assert http.get(path).headers["x-content-type-options"] == "nosniff"


class TestA35Injections:
    @pytest.mark.parametrize("value", INJECTIONS)
    def test_in_list_parameters(
        self, http: httpx.Client, body: dict[str, Any], session: Session, value: str
    ) -> None:
        """Injected text is invalid, or a value that no row has; it is never part of the SQL."""
        job = http.post(JOBS, json=body).json()["id"]
        for path, params in [
            (JOBS, {"metadata[a]": value}),
            (JOBS, {f"metadata[{value}]": "1"}),
            (JOBS, {"after": value}),
            (JOBS, {"limit": value}),
            (f"{JOBS}/{job}/events", {"after": value}),
            ("/v1/files", {"purpose": value}),
            ("/v1/files", {"order": value}),
            ("/v1/files", {"after": value}),
        ]:
            response = http.get(path, params=params)
            assert response.status_code == 400 or response.json()["data"] == [], (path, params)
        assert count_jobs(session) == 1

    @pytest.mark.parametrize("value", INJECTIONS)
    def test_in_stored_values(self, http: httpx.Client, body: dict[str, Any], value: str) -> None:
        metadata = {value: value}
        job = http.post(JOBS, json=body | {"metadata": metadata}).json()
        assert job["metadata"] == metadata
        assert http.get(f"{JOBS}/{job['id']}").json()["metadata"] == metadata
        jobs = http.get(JOBS, params={f"metadata[{value}]": value}).json()["data"]
        # None of the keys has a bracket, which a query could not contain.
        assert [each["id"] for each in jobs] == [job["id"]]


class TestA36HeaderAndLogInjection:
    FORGED = 'x\r\nSet-Cookie: a=b\r\n\r\n{"event": "forged"}\x1b[31m'

    def test_in_a_file_name(self, http: httpx.Client) -> None:
        body = {"filename": self.FORGED, "purpose": "vision", "bytes": 1, "mime_type": "x"}
        upload = http.post("/v1/uploads", json=body).json()
        part_id = http.post(f"/v1/uploads/{upload['id']}/parts", files={"data": b"x"}).json()["id"]
        completed = http.post(f"/v1/uploads/{upload['id']}/complete", json={"part_ids": [part_id]})
        content = http.get(f"/v1/files/{completed.json()['file']['id']}/content")
        assert "set-cookie" not in content.headers
        name = content.headers["content-disposition"]
        assert name.isascii()
        assert name.isprintable()

    def test_in_a_request(self, http: httpx.Client) -> None:
        with capture_logs() as lines:
            response = http.get(
                "/v1/models/x", params={"q": self.FORGED}, headers={"X-Request-Id": "forged"}
            )
        assert "forged" not in response.headers["x-request-id"]
        assert "forged" not in str(lines)


class TestA42IdempotencyKeys:
    def test_keys_of_another_tenant_reveal_nothing(
        self, http: httpx.Client, other_tenant: httpx.Client, body: dict[str, Any], session: Session
    ) -> None:
        key = {"Idempotency-Key": "shared"}
        job_id = http.post(JOBS, json=body, headers=key).json()["id"]
        response = other_tenant.post(JOBS, json=body, headers=key)
        assert expect_error(response, 400)["param"] == "training_file", "of another tenant"
        assert job_id not in response.text
        assert "Idempotent-Replayed" not in response.headers
        assert count_jobs(session) == 1

    @pytest.mark.parametrize("key", ["x" * 10_240, "x" * 256, "", "\x7f"])
    def test_invalid_keys(
        self, http: httpx.Client, body: dict[str, Any], key: str, session: Session
    ) -> None:
        expect_error(http.post(JOBS, json=body, headers=[(b"Idempotency-Key", key.encode())]), 400)
        assert count_jobs(session) == 0

    def test_a_hundred_concurrent_requests_create_one_job(
        self, http: httpx.Client, body: dict[str, Any], session: Session
    ) -> None:
        def create(_: int) -> httpx.Response:
            return http.post(JOBS, json=body, headers={"Idempotency-Key": "a"})

        with ThreadPoolExecutor(20) as clients:
            responses = list(clients.map(create, range(100)))
        assert {response.status_code for response in responses} == {200}
        assert len({response.json()["id"] for response in responses}) == count_jobs(session) == 1


def test_a43_training_text_is_in_no_log_error_or_event(http: httpx.Client) -> None:
    canary = "canary-5f3a"
    invalid_file = json.dumps({"messages": [{"role": canary, "content": canary}]}).encode()
    valid_file = (
        GOOD.replace(b"user", b"user", 1)
        + json.dumps(
            {
                "messages": [
                    {"role": "user", "content": canary},
                    {"role": "assistant", "content": canary},
                ]
            }
        ).encode()
    )
    with capture_logs() as lines:
        post(http, PURPOSE + build_form_part("file", invalid_file, filename="a.jsonl") + END)
        post(http, PURPOSE + build_form_part("file", valid_file, filename="a.jsonl") + END[:-4])
        file = post(
            http, PURPOSE + build_form_part("file", valid_file, filename="a.jsonl") + END
        ).json()
        job = http.post(JOBS, json={"model": "base", "training_file": file["id"]}).json()
        events = http.get(f"{JOBS}/{job['id']}/events").text
        http.post("/v1/chat/completions", json={"model": canary, "messages": [{"role": canary}]})
    assert canary not in str(lines)
    assert canary not in events
    assert canary not in http.get("/metrics").text


def test_a43_webhook_secret_is_shown_once(http: httpx.Client) -> None:
    body = {"name": "a", "url": "http://127.0.0.1:9/", "event_types": ["fine_tuning.job.failed"]}
    with capture_logs() as lines:
        endpoint = http.post("/v1/webhook_endpoints", json=body).json()
        secret = endpoint["signing_secret"].removeprefix("whsec_")
        later_responses = [
            http.get("/v1/webhook_endpoints").text,
            http.get(f"/v1/webhook_endpoints/{endpoint['id']}").text,
            http.post(f"/v1/webhook_endpoints/{endpoint['id']}/test").text,
        ]
    assert secret not in str(later_responses)
    assert secret not in str(lines)


def test_a74_a_page_of_jobs_with_full_metadata_ends_after_a_mebibyte(
    http: httpx.Client, openai: OpenAI, account: Account, sessions: SessionMaker
) -> None:
    """Each job has 50 KB of metadata as JSON, and all are found by paging on."""
    metadata = {f"k{number}": "\x01" * 512 for number in range(16)}
    with transaction(sessions) as session:
        project = session.get_one(Project, account.principal.project_id)
        file = make_file(session, project)
        for _ in range(30):
            make_job(session, project, training_file_id=file.id, user_metadata=metadata)
    page = http.get(JOBS, params={"limit": 1000})
    assert page.json()["has_more"]
    assert 2**19 < len(page.content) < 2**20 + 2**16
    found = {job.id for job in openai.fine_tuning.jobs.list(limit=100)}
    assert len(found) == 30
