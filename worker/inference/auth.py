"""The engine's own key: who does not bear it learns nothing but that the engine is there."""

import secrets

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import Unauthenticated

# Whoever watches over the process has no key; neither page tells of any model.
PUBLIC_PATHS = ("/health", "/metrics")


class EngineKeyMiddleware:
    """ASGI middleware: refuses requests without `Authorization: Bearer KEY`, before their body."""

    def __init__(self, app: ASGIApp, *, key: str) -> None:
        self._app = app
        self._expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PUBLIC_PATHS or self._is_authorized(scope):
            await self._app(scope, receive, send)
            return
        error = Unauthenticated("This engine answers only those who bear its key (ENGINE_KEY).")
        answer = JSONResponse(error.body(), status_code=error.status, headers=error.headers)
        await answer(scope, receive, send)

    def _is_authorized(self, scope: Scope) -> bool:
        # In a time that tells nothing of how much of it was right.
        given = Headers(scope=scope).get("authorization", "").encode()
        return secrets.compare_digest(given, self._expected)
