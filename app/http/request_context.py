"""One request and its answer, as the guard sees them pass."""

import asyncio
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from app import ids, logs
from app.auth.principals import Admin, Principal
from app.errors import ApiError, TooLarge, TooSlow
from app.http import error_handlers, query_params
from app.http.rate_limits import Rate

log = logs.get(__name__)

# OpenAI's; clients print it.
API_VERSION = "2020-10-01"
# A body must come in this time, and a second more for every so many bytes that have come: a client
# that drips holds a connection, and for an upload a thread, for nothing.
PATIENCE_SECONDS = 15
SLOWEST_BYTES = 8 * 1024
# A refused request with a larger body, or one of unknown length, is not read to its end.
READ_ANYWAY = 64 * 1024
# What proxies log for a client that left before its answer.
CLIENT_LEFT = 499


class Exchange:
    """Counts and times what comes in, and dresses what goes out."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, patience: float = PATIENCE_SECONDS
    ) -> None:
        self.scope = scope
        self.headers = Headers(scope=scope)
        self.request_id = scope["request_id"] = ids.request_id()
        self.principal: Principal | Admin | None = None
        self.rate: Rate | None = None
        self.body_limit = 0
        self._receive = receive
        self._send = send
        self._received = 0
        self._waited = 0.0
        self._patience = patience
        self._received_all = False
        self._status: int | None = None
        self._answered = False
        self._started = time.monotonic()

    def declared_bytes(self) -> int:
        """The length that the request says its body has; 0 if it says none."""
        length = self.headers.get("content-length", "")
        return int(length) if length.isdecimal() else 0

    async def receive(self) -> Message:
        """The app's `receive`: no more than the limit, and not for ever."""
        if self._received_all:
            # Now it waits for the client to leave, which may take as long as the answer.
            return await self._receive()
        message = await self._next()
        self._received += len(message.get("body", b""))
        self._received_all = not message.get("more_body", False)
        if self._received > self.body_limit:
            # Starlette's own: FastAPI turns any other, raised while it reads, into a 400.
            raise HTTPException(TooLarge.status)
        return message

    def for_app(self) -> Scope:
        """The app's scope: HEAD is GET without its body, and a parameter without a value is none,
        which no route has to know."""
        method, query = self.scope["method"], self.scope["query_string"]
        return {
            **self.scope,
            "method": "GET" if method == "HEAD" else method,
            "query_string": query_params.given(query),
        }

    async def send(self, message: Message) -> None:
        """The app's `send`. Raises ClientDisconnect when a HEAD has all that it asked for."""
        if message["type"] == "http.response.body" and self.scope["method"] == "HEAD":
            await self._send({"type": "http.response.body", "body": b""})
            self._answered = True
            # Otherwise a file would be read to its end for nobody.
            raise ClientDisconnect
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._dress(MutableHeaders(scope=message))
        await self._send(message)
        self._answered = message["type"] == "http.response.body" and not message.get("more_body")

    async def fail(self, error: Exception) -> None:
        """Answer with an error; if the answer has begun, only breaking it off can tell of one."""
        answer = error_handlers.translate(error, self.scope["method"], self.scope["path"])
        if type(answer) is ApiError:
            log.error("request.crashed", exc_info=error)
        if self._status is not None:
            raise error
        response = error_handlers.render(answer)
        await response(self.scope, self.receive, self.send)

    def report(self) -> None:
        """The request's line in the log."""
        who = self.principal
        log.info(
            "request",
            method=self.scope["method"],
            path=self.scope["path"],
            status=self._status if self._answered else CLIENT_LEFT,
            ms=self._milliseconds(),
            key=None if who is None else who.key_id,
            project=who.project_id if isinstance(who, Principal) else None,
        )

    async def _next(self) -> Message:
        # Only waiting counts: what we do with the bytes in between is not the client's fault.
        patience = self._patience + self._received / SLOWEST_BYTES - self._waited
        started = time.monotonic()
        try:
            async with asyncio.timeout(patience):
                return await self._receive()
        except TimeoutError as error:
            raise HTTPException(TooSlow.status) from error
        finally:
            self._waited += time.monotonic() - started

    def _dress(self, headers: MutableHeaders) -> None:
        headers["x-request-id"] = self.request_id
        headers["openai-version"] = API_VERSION
        headers["openai-processing-ms"] = str(self._milliseconds())
        headers["x-content-type-options"] = "nosniff"
        if self.rate is not None:
            headers.update(self.rate.headers())
        if self._body_is_left():
            # Else uvicorn goes on reading what nobody wants, for as long as the client sends.
            headers["connection"] = "close"
        if self.principal is not None:
            headers["openai-organization"] = self.principal.organization

    def _milliseconds(self) -> int:
        return round((time.monotonic() - self._started) * 1000)

    def undeclared_bytes(self) -> int:
        """What has come without being declared, as chunks do."""
        return max(0, self._received - self.declared_bytes())

    def _body_is_left(self) -> bool:
        """The client is still sending a body that nobody will read."""
        if self._received_all:
            return False
        return "transfer-encoding" in self.headers or self.declared_bytes() > READ_ANYWAY
