"""One request and its response, as seen by the middleware: body deadline and size, response
headers, access log."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from app import ids, logs
from app.auth.principals import AdminPrincipal, Principal
from app.auth.rejected_keys import Rejection
from app.errors import ApiError, PayloadTooLarge, RateLimited, RequestTimeout
from app.http import error_handlers, query_params
from app.http.rate_limits import RateLimitStatus

log = logs.get_logger(__name__)

# OpenAI's; clients print it.
OPENAI_VERSION = "2020-10-01"
# Time for a body to arrive, plus a second for every MIN_BYTES_PER_SECOND received: a client that
# trickles its body occupies a connection, and for an upload a thread (slowloris).
BODY_TIMEOUT_SECONDS = 15
MIN_BYTES_PER_SECOND = 8 * 1024
# The body of a rejected request is read to its end up to this size; beyond it, or if the size is
# unknown, the connection is closed.
MAX_DRAIN_BYTES = 64 * 1024
# Undeclared bytes are charged to the key's rate limit in blocks: each is a round trip.
CHARGED_BLOCK_BYTES = 256 * 1024
# nginx's status code for a client that disconnected before its response.
CLIENT_CLOSED_REQUEST = 499
# A path in the access log is cut here: each line is also searched for secrets.
MAX_LOGGED_PATH_CHARS = 2048

ChargeBytes = Callable[[int], Awaitable[RateLimitStatus]]


class RequestContext:
    """Wrapper of one request's ASGI `receive` and `send`: counts and times the body, adds response
    headers, writes the access log."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        client_address: str = "",
        body_timeout: float = BODY_TIMEOUT_SECONDS,
    ) -> None:
        self.scope = scope
        self.headers = Headers(scope=scope)
        self.request_id = scope["request_id"] = ids.request_id()
        self.client_address = client_address
        self.principal: Principal | AdminPrincipal | None = None
        # Why a key was rejected, and the codes of the errors of the response.
        self.rejection: Rejection | None = None
        self._error_codes: list[str | None] = []
        scope["error_codes"] = self._error_codes
        self.rate_limit_status: RateLimitStatus | None = None
        self.max_body_bytes = 0
        # What the routes got, which names the one that matched.
        self.routed_scope = scope
        self._receive = receive
        self._send = send
        # Takes bytes from the rate limit of the request's key, whatever it holds.
        self.charge_bytes: ChargeBytes | None = None
        self._charged_bytes = 0
        self._received_bytes = 0
        self._waited_seconds = 0.0
        self._body_timeout = body_timeout
        self._has_received_all = False
        self._status: int | None = None
        self._response_complete = False
        self._started_at = time.monotonic()

    def declared_bytes(self) -> int:
        """The body's Content-Length; 0 if there is none."""
        length = self.headers.get("content-length", "")
        return int(length) if length.isdecimal() else 0

    def undeclared_bytes(self) -> int:
        """Body bytes received beyond the Content-Length, as with chunked encoding."""
        return max(0, self._received_bytes - self.declared_bytes())

    async def charge_undeclared_bytes(self) -> RateLimitStatus | None:
        """Charge body bytes beyond the Content-Length to the key's rate limit, once received."""
        size = self.undeclared_bytes() - self._charged_bytes
        if self.charge_bytes is None or not size:
            return None
        self._charged_bytes += size
        return await self.charge_bytes(size)

    def app_scope(self) -> Scope:
        """The scope for the routes: HEAD becomes GET (`send` drops the body), and query parameters
        without a value are removed, so that no route has to handle either."""
        method, query = self.scope["method"], self.scope["query_string"]
        self.routed_scope = {
            **self.scope,
            "method": "GET" if method == "HEAD" else method,
            "query_string": query_params.normalize(query),
        }
        return self.routed_scope

    async def receive(self) -> Message:
        """The ASGI `receive` of the routes, with the body's size limit and deadline."""
        if self._has_received_all:
            # The app now waits for the client to disconnect, for as long as the response takes.
            return await self._receive()
        message = await self._receive_in_time()
        self._received_bytes += len(message.get("body", b""))
        self._has_received_all = not message.get("more_body", False)
        if self._received_bytes > self.max_body_bytes:
            # Starlette's own exception: FastAPI turns any other one, raised while it reads the
            # body, into a 400.
            raise HTTPException(PayloadTooLarge.status)
        if self.undeclared_bytes() - self._charged_bytes >= CHARGED_BLOCK_BYTES:
            await self._charge_as_they_come()
        return message

    async def send(self, message: Message) -> None:
        """The ASGI `send` of the routes. Raises ClientDisconnect after the headers of a HEAD."""
        if message["type"] == "http.response.body" and self.scope["method"] == "HEAD":
            await self._send({"type": "http.response.body", "body": b""})
            self._response_complete = True
            # Otherwise the route would read a whole file that no one receives.
            raise ClientDisconnect
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._add_response_headers(MutableHeaders(scope=message))
        await self._send(message)
        is_body = message["type"] == "http.response.body"
        self._response_complete = is_body and not message.get("more_body")

    async def send_error(self, error: Exception) -> None:
        """Respond with an error. Re-raises it if the response has started already: then only
        aborting the connection can signal it."""
        api_error = error_handlers.to_api_error(error, self.scope["method"], self.scope["path"])
        if type(api_error) is ApiError:
            log.error("request.crashed", exc_info=error)
        if self._status is not None:
            raise error
        self._error_codes.append(api_error.code)
        response = error_handlers.to_response(api_error)
        await response(self.scope, self.receive, self.send)

    @property
    def status(self) -> int | None:
        """Status of the response; 499 if the client did not wait for its end."""
        return self._status if self._response_complete else CLIENT_CLOSED_REQUEST

    @property
    def response_status(self) -> int | None:
        """Status of the response, whether or not the client has waited for it."""
        return self._status

    @property
    def error_code(self) -> str | None:
        return self._error_codes[-1] if self._error_codes else None

    @property
    def key_id(self) -> str | None:
        return None if self.principal is None else self.principal.key_id

    @property
    def project_id(self) -> str | None:
        return self.principal.project_id if isinstance(self.principal, Principal) else None

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._started_at

    def log_fields(self) -> dict[str, Any]:
        """The fields of the request's line in the access log."""
        return {
            "method": self.scope["method"],
            "path": self.scope["path"][:MAX_LOGGED_PATH_CHARS],
            "status": self.status,
            "ms": self._elapsed_ms(),
            "key": self.key_id,
            "project": self.project_id,
        }

    async def _charge_as_they_come(self) -> None:
        """Charge undeclared bytes. Raises a 429 if they have used up the key's rate limit."""
        status = await self.charge_undeclared_bytes()
        if status is not None and status.remaining_bytes < 1 and not self._has_received_all:
            self.rate_limit_status = replace(status, allowed=False)
            raise HTTPException(RateLimited.status)

    async def _receive_in_time(self) -> Message:
        # Only waiting counts: the time we take to process the bytes is not the client's fault.
        allowed = self._body_timeout + self._received_bytes / MIN_BYTES_PER_SECOND
        started_at = time.monotonic()
        try:
            async with asyncio.timeout(allowed - self._waited_seconds):
                return await self._receive()
        except TimeoutError as error:
            raise HTTPException(RequestTimeout.status) from error
        finally:
            self._waited_seconds += time.monotonic() - started_at

    def _add_response_headers(self, headers: MutableHeaders) -> None:
        headers["x-request-id"] = self.request_id
        headers["openai-version"] = OPENAI_VERSION
        headers["openai-processing-ms"] = str(self._elapsed_ms())
        headers["x-content-type-options"] = "nosniff"
        # Answers belong to a key, and some contain a secret: no browser or proxy may keep them.
        # Only the console's static files, the same for everyone, say otherwise.
        headers.setdefault("cache-control", "no-store")
        if self.rate_limit_status is not None:
            headers.update(self.rate_limit_status.headers())
        if self._has_unread_body():
            # Otherwise uvicorn keeps reading and discarding it for as long as the client sends.
            headers["connection"] = "close"
        if self.principal is not None:
            headers["openai-organization"] = self.principal.organization_slug

    def _elapsed_ms(self) -> int:
        return round(self.elapsed_seconds * 1000)

    def _has_unread_body(self) -> bool:
        """The client is still sending a body, large or of unknown size, that no one will read."""
        if self._has_received_all:
            return False
        return "transfer-encoding" in self.headers or self.declared_bytes() > MAX_DRAIN_BYTES
