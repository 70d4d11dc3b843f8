"""One request and its answer, as the guard sees them pass."""

import asyncio
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from app import ids, logs
from app.auth.principals import AdminPrincipal, Principal
from app.errors import ApiError, PayloadTooLarge, RequestTimeout
from app.http import error_handlers, query_params
from app.http.rate_limits import RateLimitStatus

log = logs.get_logger(__name__)

# OpenAI's; clients print it.
OPENAI_VERSION = "2020-10-01"
# A body must come in this time, and a second more for every so many bytes that have come: a client
# that drips holds a connection, and for an upload a thread, for nothing.
BODY_TIMEOUT_SECONDS = 15
MIN_BYTES_PER_SECOND = 8 * 1024
# A refused request with a larger body, or one of unknown length, is not read to its end.
MAX_DRAIN_BYTES = 64 * 1024
# What proxies log for a client that left before its answer.
CLIENT_CLOSED_REQUEST = 499


class RequestContext:
    """Counts and times what comes in, and dresses what goes out."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        body_timeout: float = BODY_TIMEOUT_SECONDS,
    ) -> None:
        self.scope = scope
        self.headers = Headers(scope=scope)
        self.request_id = scope["request_id"] = ids.request_id()
        self.principal: Principal | AdminPrincipal | None = None
        self.rate_limit_status: RateLimitStatus | None = None
        self.max_body_bytes = 0
        self._receive = receive
        self._send = send
        self._received_bytes = 0
        self._waited_seconds = 0.0
        self._body_timeout = body_timeout
        self._has_received_all = False
        self._status: int | None = None
        self._response_complete = False
        self._started_at = time.monotonic()

    def declared_bytes(self) -> int:
        """The length that the request says its body has; 0 if it says none."""
        length = self.headers.get("content-length", "")
        return int(length) if length.isdecimal() else 0

    async def receive(self) -> Message:
        """The app's `receive`: no more than the limit, and not for ever."""
        if self._has_received_all:
            # Now it waits for the client to leave, which may take as long as the answer.
            return await self._receive()
        message = await self._receive_in_time()
        self._received_bytes += len(message.get("body", b""))
        self._has_received_all = not message.get("more_body", False)
        if self._received_bytes > self.max_body_bytes:
            # Starlette's own: FastAPI turns any other, raised while it reads, into a 400.
            raise HTTPException(PayloadTooLarge.status)
        return message

    def app_scope(self) -> Scope:
        """The app's scope: HEAD is GET without its body, and a parameter without a value is none,
        which no route has to know."""
        method, query = self.scope["method"], self.scope["query_string"]
        return {
            **self.scope,
            "method": "GET" if method == "HEAD" else method,
            "query_string": query_params.drop_empty(query),
        }

    async def send(self, message: Message) -> None:
        """The app's `send`. Raises ClientDisconnect when a HEAD has all that it asked for."""
        if message["type"] == "http.response.body" and self.scope["method"] == "HEAD":
            await self._send({"type": "http.response.body", "body": b""})
            self._response_complete = True
            # Otherwise a file would be read to its end for nobody.
            raise ClientDisconnect
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._add_response_headers(MutableHeaders(scope=message))
        await self._send(message)
        self._response_complete = message["type"] == "http.response.body" and not message.get(
            "more_body"
        )

    async def send_error(self, error: Exception) -> None:
        """Answer with an error; if the answer has begun, only breaking it off can tell of one."""
        answer = error_handlers.to_api_error(error, self.scope["method"], self.scope["path"])
        if type(answer) is ApiError:
            log.error("request.crashed", exc_info=error)
        if self._status is not None:
            raise error
        response = error_handlers.to_response(answer)
        await response(self.scope, self.receive, self.send)

    def log_request(self) -> None:
        """The request's line in the log."""
        who = self.principal
        log.info(
            "request",
            method=self.scope["method"],
            path=self.scope["path"],
            status=self._status if self._response_complete else CLIENT_CLOSED_REQUEST,
            ms=self._elapsed_ms(),
            key=None if who is None else who.key_id,
            project=who.project_id if isinstance(who, Principal) else None,
        )

    async def _receive_in_time(self) -> Message:
        # Only waiting counts: what we do with the bytes in between is not the client's fault.
        patience = (
            self._body_timeout + self._received_bytes / MIN_BYTES_PER_SECOND - self._waited_seconds
        )
        started = time.monotonic()
        try:
            async with asyncio.timeout(patience):
                return await self._receive()
        except TimeoutError as error:
            raise HTTPException(RequestTimeout.status) from error
        finally:
            self._waited_seconds += time.monotonic() - started

    def _add_response_headers(self, headers: MutableHeaders) -> None:
        headers["x-request-id"] = self.request_id
        headers["openai-version"] = OPENAI_VERSION
        headers["openai-processing-ms"] = str(self._elapsed_ms())
        headers["x-content-type-options"] = "nosniff"
        if self.rate_limit_status is not None:
            headers.update(self.rate_limit_status.headers())
        if self._has_unread_body():
            # Else uvicorn goes on reading what nobody wants, for as long as the client sends.
            headers["connection"] = "close"
        if self.principal is not None:
            headers["openai-organization"] = self.principal.organization_slug

    def _elapsed_ms(self) -> int:
        return round((time.monotonic() - self._started_at) * 1000)

    def undeclared_bytes(self) -> int:
        """What has come without being declared, as chunks do."""
        return max(0, self._received_bytes - self.declared_bytes())

    def _has_unread_body(self) -> bool:
        """The client is still sending a body that nobody will read."""
        if self._has_received_all:
            return False
        return "transfer-encoding" in self.headers or self.declared_bytes() > MAX_DRAIN_BYTES
