"""Security of the console's pages: response headers, and proof that a page sent the request."""

import hmac
import secrets

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Forbidden
from app.http.console_cookie import CONSOLE_API_PATH, CONSOLE_PATH

CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf_token"
SAFE_METHODS = ("GET", "HEAD")
# Ends of paths of the API where a GET starts work.
WORK_SUFFIXES = ("/export",)
# What the API answers is data, whatever its type: a browser that opens it runs nothing of it.
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
PAGE_HEADERS = {
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=()",
}


def build_policy(nonce: str) -> str:
    """The Content-Security-Policy of a page: scripts and styles from our own files only, and
    attributes of htmx only with the nonce that is made for each response."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'nonce-{nonce}'",
            "style-src 'self'",
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types htmx",
        )
    )


class PageHeaders:
    """ASGI middleware that adds the headers to the console's responses."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(CONSOLE_PATH):
            await self._app(scope, receive, send)
            return
        nonce = scope["console_nonce"] = secrets.token_urlsafe(16)
        is_data = scope["path"].startswith(CONSOLE_API_PATH)
        policy = DATA_POLICY if is_data else build_policy(nonce)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = policy
                headers.update(PAGE_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def check_origin(request: Request) -> None:
    """Raise Forbidden if another site sent the request."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        is_own = site in ("same-origin", "none")
    else:
        origin, host = request.headers.get("origin"), request.headers.get("host")
        is_own = origin is None or origin in (f"http://{host}", f"https://{host}")
    if not is_own:
        raise Forbidden("This request was sent by another site. Open the console and try again.")


def check_reader(request: Request) -> None:
    """Raise Forbidden if another site makes the browser ask the API for something.

    The site could not read the answer, but some GETs start work, as that for an export does. For
    these, a browser that does not send Sec-Fetch-Site has to name the page in the Referer.
    """
    check_origin(request)
    if "sec-fetch-site" in request.headers or not request.url.path.endswith(WORK_SUFFIXES):
        return
    referer, host = request.headers.get("referer", ""), request.headers.get("host")
    if not referer.startswith((f"http://{host}/", f"https://{host}/")):
        raise Forbidden("Open this from a page of the console.")


async def check_csrf(request: Request, expected: str) -> None:
    """Raise Forbidden unless a page of this session sent the request, if it may change something.

    The token comes in a header or, from a form without scripts, in a field.
    """
    if request.method in SAFE_METHODS:
        if request.url.path.startswith(CONSOLE_API_PATH):
            check_reader(request)
        return
    check_origin(request)
    token = request.headers.get(CSRF_HEADER)
    if token is None and not request.url.path.startswith(CONSOLE_API_PATH):
        token = str((await request.form()).get(CSRF_FIELD, ""))
    if not hmac.compare_digest((token or "").encode(), expected.encode()):
        raise Forbidden("This page is out of date. Reload it and try again.")
