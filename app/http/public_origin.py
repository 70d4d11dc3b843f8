"""Scheme and host under which browsers reach the service."""

from starlette.datastructures import Headers
from starlette.types import Scope

from app.settings import Settings


def is_https(scope: Scope, settings: Settings) -> bool:
    """True if the browser speaks TLS, with this process or with a reverse proxy."""
    if settings.public_origin is not None:
        return settings.public_origin.startswith("https:")
    # Of several proxies, the first one has the browser's connection.
    forwarded = Headers(scope=scope).get("x-forwarded-proto", "").partition(",")[0].strip()
    return "https" in (scope["scheme"], forwarded)


def find_origin(scope: Scope, settings: Settings) -> str:
    """The origin, `https://luthier.example.com`: the operator's, or as the request names it."""
    if settings.public_origin is not None:
        return settings.public_origin
    scheme = "https" if is_https(scope, settings) else "http"
    return f"{scheme}://{Headers(scope=scope).get('host', 'localhost')}"
