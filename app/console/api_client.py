"""Client of the API in this process: calls its routes as the user of a session."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from anyio import CancelScope
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope

from app.auth.console_sessions import ConsoleIdentity
from app.auth.principals import AdminPrincipal, Principal

# Paths of the admin API; all others are a project's.
ADMIN_PATHS = re.compile(
    r"/v1/organization/.*|/metrics|/v1/fine_tuning/checkpoints/.+/permissions(/[^/]+)?"
)
# A page shows parts of lists; an answer beyond this is a fault of the page. It is parsed on the
# event loop, which no thread would relieve: the parser keeps Python's lock.
MAX_ANSWER_BYTES = 8 * 2**20
# Chunks of a response that may wait for the reader.
MAX_WAITING_CHUNKS = 16
# For a call to notice that its client has left.
END_TIMEOUT_SECONDS = 2
# Headers of the browser's request that say whose it is; the others are about the page.
FORWARDED_HEADERS = (b"x-forwarded-for", b"forwarded", b"user-agent")

Query = (
    Mapping[str, str | int | list[str] | None]
    | Mapping[str, str | int | list[str]]
    | Mapping[str, int]
    | Mapping[str, str]
)


class ApiCallError(Exception):
    """The API's answer was an error. `str()` is its message, a sentence for the user."""

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        super().__init__(error.get("message") or f"The API answered with status {status}.")
        self.status = status
        # The field of the request that is wrong, as a form names it.
        self.param: str | None = error.get("param")
        self.code: str | None = error.get("code")


class MissingRole(Exception):
    """The session's user has no key for this part of the API. `str()` is a sentence for them."""


@dataclass(slots=True)
class ApiResponse:
    """A response whose body arrives in chunks."""

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]

    async def read(self, limit: int = MAX_ANSWER_BYTES) -> bytes:
        """Read the rest of the body. Raises ApiCallError if it is longer than `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        async for chunk in self.chunks:
            size += len(chunk)
            if size > limit:
                raise ApiCallError(500, {"message": "The answer is too long to be shown."})
            parts.append(chunk)
        return b"".join(parts)


def build_path(*parts: str) -> str:
    """Join the parts of a path. Raises ApiCallError for one with a slash, which no id has: it would
    be another path."""
    if any("/" in part for part in parts):
        raise ApiCallError(404, {"message": "There is nothing under this name."})
    return "/" + "/".join(parts)


class ApiClient:
    """Client for one session's user. `scope` is the request that the calls are made for.

    Paths are not percent-encoded: nothing decodes them on their way to the routes.
    """

    def __init__(self, app: ASGIApp, scope: Scope, identity: ConsoleIdentity) -> None:
        self._app = app
        self._scope = scope
        self.identity = identity

    async def get(self, path: str, query: Query | None = None) -> Any:
        """GET an object. Raises ApiCallError or MissingRole."""
        return await self.call("GET", path, query=query)

    async def post(self, path: str, body: object = None, query: Query | None = None) -> Any:
        """POST a JSON body. Raises ApiCallError or MissingRole."""
        return await self.call("POST", path, body=body, query=query)

    async def delete(self, path: str) -> Any:
        """DELETE an object. Raises ApiCallError or MissingRole."""
        return await self.call("DELETE", path)

    async def call(
        self, method: str, path: str, *, body: object = None, query: Query | None = None
    ) -> Any:
        """Call a route that answers with JSON. Raises ApiCallError or MissingRole."""
        content = b"" if body is None else orjson.dumps(body)
        async with self.stream(method, path, content=content, query=query) as response:
            answer = await response.read()
        try:
            parsed = orjson.loads(answer) if answer else None
        except orjson.JSONDecodeError as cause:
            raise ApiCallError(500, {"message": f"{path} did not answer with JSON."}) from cause
        if response.status >= 400:
            error = parsed.get("error") if isinstance(parsed, dict) else None
            raise ApiCallError(response.status, error if isinstance(error, dict) else {})
        return parsed

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        content: bytes = b"",
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        receive: Receive | None = None,
        query_string: bytes | None = None,
    ) -> AsyncIterator[ApiResponse]:
        """Call a route, and read its response as it comes; leaving the context ends the call.

        `receive` takes the place of `content` where a request is passed on with its body. Raises
        MissingRole, and what the route raises once its response has started.
        """
        sent = {"content-type": "application/json", "content-length": str(len(content))}
        scope = self._build_scope(method, path, headers if headers is not None else sent)
        scope["query_string"] = _encode_query(query) if query_string is None else query_string
        exchange = _Exchange(content, receive)
        task = asyncio.create_task(exchange.run(self._app, scope))
        try:
            yield await exchange.start()
        finally:
            exchange.disconnect()
            # What follows a complete response, such as its line in the access log, is done.
            with CancelScope(shield=True), suppress(asyncio.CancelledError):
                if not exchange.is_complete:
                    await _wait_or_cancel(task)
                await task

    def _build_scope(self, method: str, path: str, headers: Mapping[str, str]) -> Scope:
        own = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        forwarded = [pair for pair in self._scope["headers"] if pair[0] in FORWARDED_HEADERS]
        return {
            "type": "http",
            "asgi": self._scope["asgi"],
            "http_version": "1.1",
            "method": method,
            "scheme": self._scope["scheme"],
            "server": self._scope["server"],
            "client": self._scope["client"],
            "root_path": "",
            "path": path,
            "raw_path": quote(path).encode(),
            "headers": [(b"host", b"console"), *own, *forwarded],
            "console_principal": self._choose_principal(path),
        }

    def _choose_principal(self, path: str) -> Principal | AdminPrincipal:
        if ADMIN_PATHS.fullmatch(path):
            if self.identity.admin is None:
                raise MissingRole("This needs an admin key. Log in with one to see it.")
            return self.identity.admin
        if path == "/readyz":
            return self.identity.principal
        if self.identity.project is None:
            raise MissingRole("This needs a project's API key. Log in with one to see it.")
        return self.identity.project


async def _wait_or_cancel(task: asyncio.Task[None]) -> None:
    """Wait for a call whose client has left, and cancel it if it does not end by itself.

    It does as soon as it looks for the client. A call that were cancelled while it closes its
    connection to an engine would leave it open, and the engine at work.
    """
    try:
        await asyncio.wait({task}, timeout=END_TIMEOUT_SECONDS)
    finally:
        task.cancel()


class _Exchange:
    """One request and its response, between the route's task and its caller."""

    def __init__(self, content: bytes, receive: Receive | None) -> None:
        self._content: bytes | None = content
        self._receive_outer = receive
        self.is_complete = False
        self._disconnected = asyncio.Event()
        self._messages = asyncio.Queue[Message | Exception | None](MAX_WAITING_CHUNKS)

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._messages.put)
        except Exception as error:
            await self._messages.put(error)
        else:
            await self._messages.put(None)

    async def start(self) -> ApiResponse:
        message = await self._next()
        if message is None:
            raise ApiCallError(500, {})
        return ApiResponse(
            message["status"], Headers(raw=list(message["headers"])), self._read_chunks()
        )

    def disconnect(self) -> None:
        self._disconnected.set()

    async def _read_chunks(self) -> AsyncIterator[bytes]:
        while (message := await self._next()) is not None:
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                self.is_complete = True
                return

    async def _next(self) -> Message | None:
        message = await self._messages.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def _receive(self) -> Message:
        if self._receive_outer is not None:
            return await self._receive_outer()
        if self._content is not None:
            content, self._content = self._content, None
            return {"type": "http.request", "body": content, "more_body": False}
        await self._disconnected.wait()
        return {"type": "http.disconnect"}


def _encode_query(query: Query | None) -> bytes:
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return urlencode(given, doseq=True).encode()
