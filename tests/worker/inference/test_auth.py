"""The engine's key: asked of everybody, but for the two pages that tell nothing."""

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


def locked() -> FastAPI:
    app = FastAPI()
    for path in ("/v1/models", *PUBLIC_PATHS):
        app.add_api_route(path, page)
    app.add_middleware(EngineKeyMiddleware, key="the-key")
    return app


@pytest.mark.parametrize(
    ("path", "given", "status"),
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
async def test_who_bears_the_key_is_let_in(path: str, given: str | None, status: int) -> None:
    transport = httpx.ASGITransport(locked())
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        answer = await client.get(path, headers=headers)
    assert answer.status_code == status
    assert status == 200 or "the-key" not in answer.text
