"""The engine's API key, required by all routes but /health and /metrics."""

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from worker.inference.auth import PUBLIC_PATHS, EngineKeyMiddleware

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def page() -> PlainTextResponse:
    return PlainTextResponse("here")


def make_app() -> FastAPI:
    app = FastAPI()
    for path in ("/v1/models", *PUBLIC_PATHS):
        app.add_api_route(path, page)
    app.add_middleware(EngineKeyMiddleware, key="the-key")
    return app


@pytest.mark.parametrize(
    ("path", "authorization", "status"),
    [
        ("/v1/models", None, 401),
        ("/v1/models", "Bearer another", 401),
        ("/v1/models", "the-key", 401),
        ("/v1/models", "Bearer the-k\u00e9y", 401),
        ("/nowhere", None, 401),
        ("/v1/models", "Bearer the-key", 200),
        ("/health", None, 200),
        ("/metrics", None, 200),
    ],
)
async def test_only_requests_with_the_key_pass(
    path: str, authorization: str | None, status: int
) -> None:
    transport = httpx.ASGITransport(make_app())
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        response = await client.get(path, headers=headers)
    assert response.status_code == status
    assert status == 200 or "the-key" not in response.text
