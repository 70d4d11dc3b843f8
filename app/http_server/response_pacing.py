"""Limits on responses that clients read slowly: a minimum rate, and unread bytes per project.

uvicorn buffers whatever it is given. A large body is therefore sent in pieces, each once the client
has read enough of those before: the request goes on, and keeps its place among those of its
project, until its client has read the response.
"""

import asyncio
import time
from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PIECE_BYTES = 64 * 1024
# Time for a response to be read, plus a second for every MIN_BYTES_PER_SECOND that were.
READ_TIMEOUT_SECONDS = 30.0
MIN_BYTES_PER_SECOND = 16 * 1024
# Unread bytes of a project's responses. Beyond them its slowest clients are disconnected.
MAX_UNREAD_BYTES = 64 * 2**20
# A client that was waited for less is not slow.
MIN_WAIT_SECONDS = 5.0


class ResponsePacing:
    """ASGI middleware. `find_owner` names the project that a response is for."""

    read_timeout_seconds = READ_TIMEOUT_SECONDS
    min_bytes_per_second: float = MIN_BYTES_PER_SECOND
    max_unread_bytes = MAX_UNREAD_BYTES
    min_wait_seconds = MIN_WAIT_SECONDS

    def __init__(self, app: ASGIApp, *, find_owner: Callable[[Scope], str]) -> None:
        self._app = app
        self._find_owner = find_owner
        self._unread: dict[str, set[_Response]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response = _Response(send, self.read_timeout_seconds, self.min_bytes_per_second)

        async def send_paced(message: Message) -> None:
            if len(message.get("body", b"")) <= PIECE_BYTES:
                await response.send(message)
                return
            owner = self._find_owner(scope)
            self._add(owner, response)
            try:
                await response.send_in_pieces(message)
            finally:
                self._remove(owner, response)

        try:
            await self._app(scope, receive, send_paced)
        except Exception:
            if not response.is_disconnected:
                raise
            # uvicorn closes the connection of a response that is not complete.

    def _add(self, owner: str, response: "_Response") -> None:
        self._unread.setdefault(owner, set()).add(response)
        asyncio.get_running_loop().call_later(self.min_wait_seconds, self._disconnect_slow, owner)

    def _remove(self, owner: str, response: "_Response") -> None:
        responses = self._unread[owner]
        responses.discard(response)
        if not responses:
            del self._unread[owner]

    def _disconnect_slow(self, owner: str) -> None:
        """Disconnect the clients that were waited for longest, until few enough bytes are left."""
        responses = self._unread.get(owner, set())
        excess = sum(response.unread_bytes for response in responses) - self.max_unread_bytes
        for response in sorted(responses, key=_Response.get_waited_seconds, reverse=True):
            if excess <= 0 or response.get_waited_seconds() < self.min_wait_seconds:
                return
            excess -= response.unread_bytes
            response.disconnect()


class _Response:
    """A response, and the time that its client was waited for."""

    def __init__(self, send: Send, read_timeout_seconds: float, min_rate: float) -> None:
        self.unread_bytes = 0
        self.is_disconnected = False
        self._send = send
        self._allowed_seconds = read_timeout_seconds
        self._min_rate = min_rate
        self._waited_seconds = 0.0
        self._waiting_since: float | None = None
        self._timeout: asyncio.Timeout | None = None

    def get_waited_seconds(self) -> float:
        """Get the time waited so far, for the client to read what was sent before."""
        since = self._waiting_since
        return self._waited_seconds + (0.0 if since is None else time.monotonic() - since)

    def disconnect(self) -> None:
        """Give up the response, which is being sent."""
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def send_in_pieces(self, message: Message) -> None:
        """Send a large body. Raises ClientDisconnect."""
        body = message["body"]
        has_more = message.get("more_body", False)
        for start in range(0, len(body), PIECE_BYTES):
            end = start + PIECE_BYTES
            self.unread_bytes = len(body) - start
            more = has_more or end < len(body)
            await self.send({**message, "body": body[start:end], "more_body": more})

    async def send(self, message: Message) -> None:
        """Send a message once uvicorn's buffer has room. Raises ClientDisconnect."""
        self._waiting_since = time.monotonic()
        try:
            async with asyncio.timeout(self._allowed_seconds - self._waited_seconds) as timeout:
                self._timeout = timeout
                await self._send(message)
        except TimeoutError as error:
            self.is_disconnected = True
            raise ClientDisconnect from error
        except RuntimeError as error:
            # Of uvloop, for a pipelined request behind one whose connection was just closed:
            # uvicorn has not been told of it yet.
            if "the handler is closed" not in str(error):
                raise
            self.is_disconnected = True
            raise ClientDisconnect from error
        finally:
            self._timeout = None
            self._waited_seconds = self.get_waited_seconds()
            self._waiting_since = None
        self._allowed_seconds += len(message.get("body", b"")) / self._min_rate
