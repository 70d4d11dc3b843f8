"""Limits per key, HEAD requests, and browsers (CORS)."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import httpx
import openai as sdk
import pytest
from fastapi import FastAPI
from openai import OpenAI

from app.files.uploads import MAX_PART_BYTES
from app.http import admission
from app.http.admission import AdmissionMiddleware
from app.http.rate_limits import RateLimit, RateLimiter
from app.main import create_app
from app.settings import Settings
from tests import http_client
from tests.app.http.test_admission import expect_error
from tests.live_api import Account, Api
from tests.live_server import run_server

Serve = Callable[..., Any]
# Nothing listens there: the limiter counts in memory, and a busy broker cannot interfere.
DEAD = "redis://127.0.0.1:1/0"


@pytest.fixture
def with_settings(api: Api) -> Serve:
    """Serves the API with other settings, on the same database."""

    @contextmanager
    def serve(**changes: Any) -> Iterator[str]:
        settings = Settings(**{**api.state.settings.model_dump(), **changes})
        with run_server(create_app(settings)) as url:
            yield url

    return serve


def app_behind_middleware(api: Api, **changes: Any) -> FastAPI:
    """An app without routes behind the admission middleware, with its own rate limiter."""
    settings = api.state.settings.model_copy(update=changes)
    rates = RateLimiter(str(settings.redis_url), RateLimit(requests=100, bytes=100))

    @asynccontextmanager
    async def close(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await rates.close()

    app = FastAPI(lifespan=close)
    app.add_middleware(
        AdmissionMiddleware,
        state=replace(api.state, settings=settings, rate_limiter=rates),
        max_part_bytes=MAX_PART_BYTES,
    )
    return app


def bearer(account: Account) -> dict[str, str]:
    return {"Authorization": f"Bearer {account.secret}"}


class TestRateLimits:
    def test_too_many_requests(self, with_settings: Serve, account: Account) -> None:
        with with_settings(rate_limit_requests_per_minute=3, redis_url=DEAD) as url:
            for left in (2, 1, 0):
                response = http_client.get(f"{url}/v1/models", headers=bearer(account))
                assert response.status_code == 200
                assert response.headers["x-ratelimit-limit-requests"] == "3"
                assert response.headers["x-ratelimit-remaining-requests"] == str(left)
                assert response.headers["x-ratelimit-reset-requests"].endswith("s")
            response = http_client.get(f"{url}/v1/models", headers=bearer(account))
            error = expect_error(response, 429)
            assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
            assert "Limit 3. Please try again in" in str(error["message"])
            assert 1 <= int(response.headers["retry-after"]) <= 20
            assert int(response.headers["retry-after-ms"]) <= 20_000
            for path in ("/healthz", "/docs"):
                assert http_client.get(url + path).status_code == 200, path
            with OpenAI(base_url=f"{url}/v1", api_key=account.secret, max_retries=0) as client:
                with pytest.raises(sdk.RateLimitError) as raised:
                    client.models.list()
                assert raised.value.code == "rate_limit_exceeded"

    def test_too_many_bytes(self, with_settings: Serve, account: Account) -> None:
        with with_settings(rate_limit_bytes_per_minute=1000, redis_url=DEAD) as url:
            body = b" " * 1500

            def post(content: Any) -> httpx.Response:
                return http_client.post(
                    f"{url}/v1/fine_tuning/jobs", content=content, headers=bearer(account)
                )

            expect_error(post(iter([body])), 400)
            response = post(b"{}")
            assert "bytes per minute: Limit 1000" in str(expect_error(response, 429)["message"])
            # 501 bytes are missing, at 1000 per minute.
            assert 1 <= int(response.headers["retry-after"]) <= 31

    def test_too_many_concurrent_requests(
        self, api: Api, account: Account, http: httpx.Client
    ) -> None:
        inside, done = threading.Semaphore(0), threading.Event()
        app = app_behind_middleware(api, max_concurrent_requests_per_key=1)

        @app.get("/v1/wait")
        def wait() -> None:
            inside.release()
            done.wait(120)

        with run_server(app) as url, ThreadPoolExecutor(1) as other:
            first = other.submit(httpx.get, f"{url}/v1/wait", headers=bearer(account), timeout=120)
            assert inside.acquire(timeout=120)
            response = http_client.get(f"{url}/v1/wait", headers=bearer(account))
            assert "already has 1 concurrent requests" in str(
                expect_error(response, 429)["message"]
            )
            done.set()
            assert first.result().status_code == 200
            assert http_client.get(f"{url}/v1/wait", headers=bearer(account)).status_code == 200


def test_a10_guessing_keys_is_rate_limited_and_locks_no_one_out(
    api: Api, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "FAILED_AUTH_LIMIT", RateLimit(requests=3, bytes=1))
    app = app_behind_middleware(api)
    app.add_api_route("/v1/models", lambda: "here")
    with run_server(app) as url:
        for number in range(3):
            wrong = {"Authorization": f"Bearer sk-luthier-{number:040}"}
            expect_error(http_client.get(f"{url}/v1/models", headers=wrong), 401)
        expect_error(http_client.get(f"{url}/v1/models", headers=wrong), 429)
        spoofed = wrong | {"X-Forwarded-For": "1.2.3.4"}
        expect_error(http_client.get(f"{url}/v1/models", headers=spoofed), 429)
        assert http_client.get(f"{url}/v1/models", headers=bearer(account)).status_code == 200


class TestHead:
    @pytest.mark.parametrize("path", ["/v1/models", "/v1/files", "/healthz", "/openapi.json"])
    def test_head_is_get_without_the_body(self, http: httpx.Client, path: str) -> None:
        head, get = http.head(path), http.get(path)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("content-type", "content-length"):
            assert head.headers[name] == get.headers[name]

    def test_errors_have_no_body_either(self, http: httpx.Client, api: Api) -> None:
        assert http.head("/v1/files/file-none").status_code == 404
        assert http_client.head(f"{api.url}/v1/models").status_code == 401
        assert http.head("/v1/completions").status_code == 405

    def test_head_does_not_read_the_file(self, http: httpx.Client) -> None:
        body = b'{"a": 1}\n' * 100_000
        response = http.post(
            "/v1/files", files={"file": ("x.jsonl", body)}, data={"purpose": "user_data"}
        )
        file_id = response.json()["id"]
        for _ in range(3):
            head = http.head(f"/v1/files/{file_id}/content")
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == str(len(body))
        assert http.get(f"/v1/files/{file_id}").status_code == 200


class TestCors:
    ORIGIN = "https://app.example"
    ASK = {  # noqa: RUF012
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
    }

    def test_no_origin_is_allowed_by_default(self, api: Api, http: httpx.Client) -> None:
        response = http.options("/v1/models", headers=self.ASK)
        assert "access-control-allow-origin" not in response.headers
        response = http.get("/v1/models", headers={"Origin": self.ORIGIN})
        assert "access-control-allow-origin" not in response.headers

    def test_configured_origins_are_allowed(self, with_settings: Serve, account: Account) -> None:
        with with_settings(cors_origins=f"https://other.example, {self.ORIGIN}") as url:
            preflight = http_client.options(f"{url}/v1/models", headers=self.ASK)
            assert preflight.status_code == 200
            assert preflight.headers["access-control-allow-origin"] == self.ORIGIN
            assert "x-stainless-lang" in preflight.headers["access-control-allow-headers"]
            other_origin = self.ASK | {"Origin": "https://evil.example"}
            assert (
                "access-control-allow-origin"
                not in http_client.options(f"{url}/v1/models", headers=other_origin).headers
            )
            mine = bearer(account) | {"Origin": self.ORIGIN}
            response = http_client.get(f"{url}/v1/models", headers=mine)
            assert response.headers["access-control-allow-origin"] == self.ORIGIN
            assert "x-request-id" in response.headers["access-control-expose-headers"]
            assert "access-control-allow-credentials" not in response.headers
            rejected = http_client.get(f"{url}/v1/models", headers={"Origin": self.ORIGIN})
            assert rejected.status_code == 401
            assert rejected.headers["access-control-allow-origin"] == self.ORIGIN
