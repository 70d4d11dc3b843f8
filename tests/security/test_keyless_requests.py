"""What anyone may send without a key must not keep the requests of keys out."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_network

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.routing import Route

from app.files.uploads import MAX_PART_BYTES
from app.http import admission
from app.http.admission import AdmissionMiddleware
from app.http.fair_limiter import FairLimiter
from app.http.rate_limits import RateLimiter
from app.main import MAX_CONCURRENT_DB_SESSIONS, MAX_THREAD_SHARE, create_app
from tests import http_client
from tests.app.http.test_admission import Busy, expect_error
from tests.live_api import Account, Api
from tests.live_server import run_server

KEYLESS = 3


def test_a70_the_openapi_document_is_serialized_once(api: Api) -> None:
    """Each serialization of its 200 KB holds the event loop, and no key is needed to ask for it."""
    app = create_app(api.state.settings)
    (route,) = [r for r in app.routes if isinstance(r, Route) and r.path == "/openapi.json"]
    request = Request({"type": "http", "app": app, "headers": []})
    first, second = (asyncio.run(route.endpoint(request)) for _ in range(2))
    assert first.body is second.body
    assert b'"openapi"' in first.body


class TestA71:
    @pytest.fixture
    def busy(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Busy]:
        """An app whose pages wait, as for a client that reads slowly."""
        monkeypatch.setattr(admission, "MAX_KEYLESS_REQUESTS", KEYLESS)
        inside, done = threading.Semaphore(0), threading.Event()
        app = FastAPI()

        @app.get("/docs-page")
        def wait() -> None:
            inside.release()
            done.wait(120)

        @app.get("/healthz")
        @app.get("/v1/ping")
        def respond() -> None:
            pass

        # Limits belong to one event loop.
        state = replace(
            api.state,
            db_slots=FairLimiter(MAX_CONCURRENT_DB_SESSIONS, share=MAX_THREAD_SHARE),
            rate_limiter=RateLimiter("redis://127.0.0.1:1/0", api.state.rate_limiter.limit),
            settings=api.state.settings.model_copy(
                update={"trusted_proxies": (ip_network("127.0.0.0/8"),)}
            ),
        )
        app.add_middleware(
            AdmissionMiddleware,
            state=state,
            max_part_bytes=MAX_PART_BYTES,
            max_concurrent_requests=KEYLESS + 1,
        )
        with run_server(app) as url:
            yield Busy(url, inside, done)
            done.set()

    def test_a71_requests_without_a_key_leave_places_for_keys(
        self, busy: Busy, account: Account
    ) -> None:
        with ThreadPoolExecutor(KEYLESS) as strangers:
            url = f"{busy.url}/docs-page"
            waiting = [strangers.submit(httpx.get, url, timeout=120) for _ in range(KEYLESS)]
            for _ in waiting:
                assert busy.inside.acquire(timeout=120)
            error = expect_error(http_client.get(url), 503)
            assert "without an API key" in str(error["message"])
            own = {"authorization": f"Bearer {account.secret}"}
            assert http_client.get(f"{busy.url}/v1/ping", headers=own).status_code == 200
            assert http_client.get(f"{busy.url}/healthz").status_code == 200
            busy.done.set()
        assert {response.result().status_code for response in waiting} == {200}
        assert http_client.get(url).status_code == 200

    def test_a71_one_address_leaves_places_for_others(
        self, busy: Busy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(admission, "MAX_KEYLESS_REQUESTS_PER_ADDRESS", 1)
        url = f"{busy.url}/docs-page"

        def ask(address: str) -> httpx.Response:
            return httpx.get(url, headers={"x-forwarded-for": address}, timeout=120)

        with ThreadPoolExecutor(2) as strangers:
            first = strangers.submit(ask, "203.0.113.1")
            assert busy.inside.acquire(timeout=120)
            assert ask("203.0.113.1").status_code == 503
            other = strangers.submit(ask, "203.0.113.2")
            assert busy.inside.acquire(timeout=120)
            busy.done.set()
        assert [first.result().status_code, other.result().status_code] == [200, 200]


def test_a72_test_deliveries_of_one_project_leave_threads_for_others(api: Api) -> None:
    """Each thread of a receiver that hangs is held for 15 seconds."""
    slots = api.state.webhook_test_slots
    held = 0
    while slots.try_acquire("greedy"):
        held += 1
    assert slots.try_acquire("neighbour")
    slots.release("neighbour")
    for _ in range(held):
        slots.release("greedy")
