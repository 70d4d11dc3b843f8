"""Shares of the API's pools: a project that takes all it can leaves room for its neighbour.

Asserted by order: the neighbour is served while the load goes on.
"""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI

from app.db.session import SessionMaker, transaction
from app.files.uploads import MAX_PART_BYTES
from app.formats import DatasetValidator
from app.formats.validation_task import ValidationTask, parse_report, validate
from app.http.admission import AdmissionMiddleware
from app.http.dependencies import SessionDep
from app.http.fair_limiter import FairLimiter
from app.http.rate_limits import RateLimiter
from app.main import MAX_CONCURRENT_DB_SESSIONS, MAX_THREAD_SHARE, create_app
from app.organization import api_keys
from app.settings import Settings
from app.storage.local import LocalWriter
from tests import http_client
from tests.app.http.test_admission import expect_error
from tests.live_api import Account, Api, client_with_secret
from tests.live_server import run_server
from tests.neighbour_loads import (
    FORM_END,
    FORM_HEAD,
    count_answered,
    dribbled_uploads,
    upload_head,
    validated_uploads,
)
from tests.polling import wait_until
from tests.raw_http import connected, parse_error, read_until_closed

GOOD = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'


def upload(client: httpx.Client, content: bytes) -> httpx.Response:
    return client.post(
        "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", content)}
    )


class TestA55SlowUploads:
    def test_a55_dribbled_uploads_hold_no_slot_of_a_neighbour_and_no_thread(
        self, api: Api, account: Account, other_tenant: httpx.Client
    ) -> None:
        slots = api.state.upload_slots
        with dribbled_uploads(api.url, account.secret) as connections:
            wait_until(
                "the project has taken its share",
                lambda: slots.held_by(account.principal.project_id) == slots.total // 2,
            )
            wait_until("no thread is held", lambda: api.state.transfer_threads.in_use == 0)
            assert upload(other_tenant, b"{}").status_code == 200
            assert count_answered(connections) == 0, "the load ended before the neighbour"
        wait_until("all slots are free", lambda: slots.in_use == 0)

    def test_a55_threads_that_hang_are_not_those_of_a_neighbour(
        self,
        api: Api,
        account: Account,
        http: httpx.Client,
        other_tenant: httpx.Client,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        release, write = threading.Event(), LocalWriter.write

        def hang(writer: LocalWriter, data: bytes, /) -> int:
            if data.startswith(b"hang"):
                release.wait(120)
            return write(writer, data)

        monkeypatch.setattr(LocalWriter, "write", hang)
        threads, project = api.state.transfer_threads, account.principal.project_id
        with ThreadPoolExecutor(40) as uploads:
            hanging = [uploads.submit(upload, http, b"hang" * 10) for _ in range(40)]
            try:
                wait_until("threads hang", lambda: threads.held_by(project) == 24)
                assert upload(other_tenant, GOOD).status_code == 200
                assert not any(future.done() for future in hanging)
            finally:
                release.set()
            assert {future.result().status_code for future in hanging} == {200}

    def test_a55_undeclared_bytes_are_charged_as_they_come(
        self, api: Api, account: Account
    ) -> None:
        changes = {"rate_limit_bytes_per_minute": 2**19, "redis_url": "redis://127.0.0.1:1/0"}
        settings = Settings(**{**api.state.settings.model_dump(), **changes})
        head = upload_head(account.secret, 0).replace(
            b"Content-Length: 0", b"Transfer-Encoding: chunked"
        )
        block = b"%x\r\n%b\r\n" % (2**16, GOOD.ljust(2**16))
        with run_server(create_app(settings)) as url, connected(url) as connection:
            connection.sendall(head + b"%x\r\n%b\r\n" % (len(FORM_HEAD), FORM_HEAD))
            blocks = 0
            while not count_answered([connection]) and blocks < 48:
                connection.sendall(block)
                blocks += 1
                time.sleep(0.01)
            # A bucket of 8 blocks; the file may have 64.
            assert blocks < 48, "the request was not cut off"
            response = read_until_closed(connection)
        status, error = parse_error(response)
        assert (status, error["code"]) == (429, "rate_limit_exceeded")
        assert b"retry-after: " in response


class TestA61Validation:
    def test_a61_no_file_is_validated_in_the_process_of_the_api(
        self, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_arguments: object) -> None:
            raise AssertionError("validated in the process of the API")

        monkeypatch.setattr(DatasetValidator, "feed", refuse)
        for count in (1, 20_000):
            file = upload(http, GOOD * count).json()
            assert file["status"] == "processed", file
            report = http.get(f"/v1/files/{file['id']}/validation").json()
            assert (report["format"], report["examples"]) == ("chat", count)

    @pytest.mark.parametrize(
        "content",
        [
            GOOD * 100,
            b"\xef\xbb\xbf" + GOOD + b"\n\n" + GOOD + b"{",
            b"{}\n" * 20_000,
            b'{"text": "a", "label": "b\\u2028\xc3\xa9"}\n' * 3 + b'{"text": "a", "label": "c"}\n',
            b'{"text": "a", "labels": ["x", "y"]}\n' + b'{"text": "\\ud800"}\n' + b"\xff\n",
            b"PK\x03\x04",
            b"",
        ],
    )
    def test_a61_the_report_is_the_same_to_the_last_field(self, content: bytes) -> None:
        validator = DatasetValidator()
        validator.feed(content)
        expected = validator.finish()
        stream = ValidationTask()
        for start in range(0, len(content), 7):
            stream.feed(content[start : start + 7])
        assert parse_report(validate(content)) == expected
        assert parse_report(stream.finish()) == expected

    def test_a61_a_lost_validator_is_a_503_and_stores_nothing(
        self, api: Api, account: Account, http: httpx.Client
    ) -> None:
        content = GOOD * 10_000
        body = FORM_HEAD + content + FORM_END
        half = len(body) // 2 + 1
        with connected(api.url) as connection:
            connection.sendall(upload_head(account.secret, len(body)) + body[:half])
            wait_until("validation has begun", lambda: api.state.cpu_pool.open_streams == 1)
            for pid in api.state.cpu_pool.worker_pids:
                os.kill(pid, signal.SIGKILL)
            connection.sendall(body[half:])
            response = connection.recv(65536)
        status, error = parse_error(response)
        assert (status, error["type"]) == (503, "server_error")
        assert b"retry-after: " in response
        assert http.get("/v1/files").json()["data"] == []
        assert upload(http, content).json()["status"] == "processed"

    def test_a61_a_neighbours_file_is_validated_beside_a_flood(
        self, api: Api, account: Account, other_tenant: httpx.Client
    ) -> None:
        """Counted: while the neighbour's file is validated, few of the flood's are."""
        with validated_uploads(api.url, account.secret, count=12, size=2 * 10**6):
            wait_until("the flood has begun", lambda: api.state.cpu_pool.open_streams >= 2)
            before = count_files(api, account)
            for _ in range(3):
                assert upload(other_tenant, GOOD).json()["status"] == "processed"
            assert count_files(api, account) - before <= 12


def count_files(api: Api, account: Account) -> int:
    with client_with_secret(api, account.secret) as client:
        return len(client.get("/v1/files").json()["data"])


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def secret_of(client: httpx.Client) -> str:
    return client.headers["authorization"].removeprefix("Bearer ")


class Busy:
    """A server whose requests wait until they are released."""

    def __init__(self, db_slots: FairLimiter) -> None:
        self.url = ""
        self.db_slots = db_slots
        self.inside = threading.Semaphore(0)
        self.done = threading.Event()

    @contextmanager
    def requests(
        self, path: str, secrets: list[str], *, count: int, inside: int
    ) -> Iterator[list[Future[httpx.Response]]]:
        """Send `count` requests, and wait until `inside` of them are served."""
        with ThreadPoolExecutor(count) as clients:
            responses = [
                clients.submit(
                    http_client.get, self.url + path, headers=bearer(secrets[n % len(secrets)])
                )
                for n in range(count)
            ]
            try:
                for _ in range(inside):
                    assert self.inside.acquire(timeout=120)
                yield responses
            finally:
                self.done.set()


class TestPlacesAndConnections:
    @pytest.fixture
    def busy(self, api: Api) -> Iterator[Busy]:
        """An app with 40 places whose requests wait, with and without a session."""
        # Limits belong to one event loop.
        slots = FairLimiter(MAX_CONCURRENT_DB_SESSIONS, share=MAX_THREAD_SHARE)
        state = replace(
            api.state,
            db_slots=slots,
            rate_limiter=RateLimiter("redis://127.0.0.1:1/0", api.state.rate_limiter.limit),
        )
        busy = Busy(slots)
        app = FastAPI()
        app.state.shared = state

        @app.get("/v1/wait")
        async def wait() -> None:
            busy.inside.release()
            while not busy.done.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

        @app.get("/v1/query")
        def query(_session: SessionDep) -> None:
            busy.inside.release()
            busy.done.wait(120)

        @app.get("/v1/ping")
        def ping(_session: SessionDep) -> None:
            pass

        app.add_middleware(
            AdmissionMiddleware,
            state=state,
            max_part_bytes=MAX_PART_BYTES,
            max_concurrent_requests=40,
        )
        with run_server(app) as url:
            busy.url = url
            yield busy
            busy.done.set()

    def test_a55_two_keys_of_a_project_leave_half_of_the_places(
        self, busy: Busy, account: Account, other_tenant: httpx.Client, sessions: SessionMaker
    ) -> None:
        with transaction(sessions) as session:
            second = api_keys.create(session, account.principal.project_id, "second")[1]
        with busy.requests("/v1/wait", [account.secret, second], count=20, inside=20) as responses:
            refused = http_client.get(f"{busy.url}/v1/ping", headers=bearer(second))
            message = str(expect_error(refused, 429)["message"])
            assert "This project already has 20 concurrent requests" in message
            assert int(refused.headers["retry-after"]) >= 1
            neighbour = bearer(secret_of(other_tenant))
            assert http_client.get(f"{busy.url}/v1/ping", headers=neighbour).status_code == 200
        assert {response.result().status_code for response in responses} == {200}

    def test_a55_connections_of_a_project_that_hangs_leave_some_for_others(
        self, busy: Busy, account: Account, other_tenant: httpx.Client
    ) -> None:
        with busy.requests("/v1/query", [account.secret], count=19, inside=12) as responses:
            assert busy.db_slots.held_by(account.principal.project_id) == 12
            neighbour = bearer(secret_of(other_tenant))
            for _ in range(5):
                assert http_client.get(f"{busy.url}/v1/ping", headers=neighbour).status_code == 200
            assert not any(response.done() for response in responses)
        assert {response.result().status_code for response in responses} == {200}
