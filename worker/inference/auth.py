"""Bearer-key middleware. Without the engine's key only /health and /metrics respond."""

import secrets

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import Unauthenticated

# Probes and scrapers have no key. The pages name base models, never a tuned one or a project.
PUBLIC_PATHS = ("/health", "/metrics")


class EngineKeyMiddleware:
    """ASGI middleware: rejects requests without `Authorization: Bearer KEY`, before their body."""

    def __init__(self, app: ASGIApp, *, key: str) -> None:
        self._app = app
        self._expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PUBLIC_PATHS or self._is_authorized(scope):
            await self._app(scope, receive, send)
            return
        error = Unauthenticated(
            "This engine requires its API key (LUTHIER_ENGINE_API_KEY) as a bearer token."
        )
        response = JSONResponse(error.body(), status_code=error.status, headers=error.headers)
        await response(scope, receive, send)

    def _is_authorized(self, scope: Scope) -> bool:
        authorization = Headers(scope=scope).get("authorization", "").encode()
        # Constant-time comparison.
        return secrets.compare_digest(authorization, self._expected)
