"""TCP proxies on the loopback that delay, cut or hold connections on command."""

import asyncio
import random
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

T = TypeVar("T")
# A port of this machine, or the path of a Unix socket.
Upstream = int | str

CHUNK_BYTES = 2**16
# Postgres' CommandComplete message for a COMMIT.
COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"


class Network:
    """An event loop in a thread of its own, in which all proxies of a test run live."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network")
        self._thread.start()

    def call(self, work: Awaitable[T]) -> T:
        """Await `work` in the network's thread; its result."""

        async def run() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    def proxy(self, upstream: Upstream) -> "Proxy":
        return self.call(Proxy.open(self, upstream))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()


class ResetConnection(Exception):
    """Raised to reset a connection in both directions."""


@dataclass(eq=False)
class Breakpoint:
    """Holds the first connection on which `client` bytes and then `server` bytes were seen.

    Without `server` the `client` bytes themselves are held back, otherwise the response. `after`
    must have passed from the client in the same transaction before. `release` lets the bytes pass,
    `reset_connection` resets the connection instead.
    """

    client: bytes
    server: bytes | None = None
    after: bytes = b""
    hit: threading.Event = field(default_factory=threading.Event)
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _is_reset: bool = False
    _released: bool = False
    _loop: asyncio.AbstractEventLoop | None = None

    async def hold(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.hit.set()
        if not self._released:
            await self._open.wait()
        if self._is_reset:
            raise ResetConnection

    def wait_until_hit(self, seconds: float = 30) -> None:
        assert self.hit.wait(seconds), f"nothing that matches {self.client!r} has passed"

    def release(self) -> None:
        self._released = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._open.set)

    def reset_connection(self) -> None:
        self._is_reset = True
        self.release()


@dataclass(eq=False)
class Connection:
    """A proxied connection: its two ends, and the client bytes of the current transaction."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    sent: bytes = b""

    def abort(self) -> None:
        for writer in (self.client, self.server):
            # Linger of 0 s: a reset, so that bytes in flight are lost too.
            with suppress(OSError):
                _socket(writer).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0" * 2)
            writer.transport.abort()


def _socket(writer: asyncio.StreamWriter) -> Any:
    return writer.get_extra_info("socket")


class Proxy:
    """A node's way to one server; its faults affect only the connections made through it.

    latency            seconds by which each chunk is delayed, in each direction
    lost_commit_ratio  share of COMMITs that happen, but whose response is cut off
    """

    def __init__(self, network: Network, upstream: Upstream) -> None:
        self.latency = 0.0
        self.lost_commit_ratio = 0.0
        self.commits_lost = 0
        self.port = 0
        self._network = network
        self._upstream = upstream
        self._random = random.Random(7)
        self._connections: set[Connection] = set()
        self._breakpoints: list[Breakpoint] = []
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None

    @classmethod
    async def open(cls, network: Network, upstream: Upstream) -> Self:
        proxy = cls(network, upstream)
        await proxy._listen()
        return proxy

    @property
    def is_black_hole(self) -> bool:
        return not self._open.is_set()

    def black_hole(self) -> None:
        """Accept connections, but let nothing pass until healed."""
        self._network.call(_call(self._open.clear))

    def refuse(self) -> None:
        """Reset all connections and refuse new ones until healed."""
        self._network.call(self._refuse())

    def reset_connections(self) -> None:
        """Reset all connections; new ones work."""
        self._network.call(_call(self._abort))

    def heal(self) -> None:
        """End all faults but breakpoints. Bytes held in a black hole arrive now, late."""
        self.latency = self.lost_commit_ratio = 0.0
        self._network.call(self._heal())

    def add_breakpoint(
        self, client: bytes, server: bytes | None = None, *, after: bytes = b""
    ) -> Breakpoint:
        breakpoint_ = Breakpoint(client, server, after)
        self._breakpoints.append(breakpoint_)
        return breakpoint_

    def close(self) -> None:
        for breakpoint_ in self._breakpoints:
            breakpoint_.reset_connection()
        self.refuse()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._abort()

    async def _heal(self) -> None:
        self._open.set()
        if self._server is None:
            await self._listen()

    def _abort(self) -> None:
        for connection in list(self._connections):
            connection.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        connection = Connection(writer, server_writer)
        self._connections.add(connection)
        pumps = [
            asyncio.create_task(self._pump(reader, server_writer, connection, self._from_client)),
            asyncio.create_task(self._pump(server_reader, writer, connection, self._from_server)),
        ]
        try:
            await asyncio.gather(*pumps)
        except (ResetConnection, OSError):
            connection.abort()
        finally:
            self._connections.discard(connection)
            for pump in pumps:
                pump.cancel()
            for end in (writer, server_writer):
                end.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._upstream, int):
            return await asyncio.open_connection("127.0.0.1", self._upstream)
        return await asyncio.open_unix_connection(self._upstream)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: Connection,
        inspect: Callable[[Connection, bytes], Awaitable[None]],
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self.latency:
                await asyncio.sleep(self.latency)
            await self._open.wait()
            await inspect(connection, data)
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def _from_client(self, connection: Connection, data: bytes) -> None:
        connection.sent = (connection.sent + data)[-CHUNK_BYTES:]
        await self._check_breakpoints(connection, data, is_response=False)

    async def _from_server(self, connection: Connection, data: bytes) -> None:
        await self._check_breakpoints(connection, data, is_response=True)
        if COMMITTED not in data:
            return
        connection.sent = b""
        if self._random.random() < self.lost_commit_ratio:
            self.commits_lost += 1
            raise ResetConnection

    async def _check_breakpoints(
        self, connection: Connection, data: bytes, *, is_response: bool
    ) -> None:
        for breakpoint_ in list(self._breakpoints):
            pattern = breakpoint_.server if is_response else breakpoint_.client
            if (
                is_response != (breakpoint_.server is not None)
                or pattern is None
                or pattern not in data
            ):
                continue
            if breakpoint_.client in connection.sent and breakpoint_.after in connection.sent:
                self._breakpoints.remove(breakpoint_)
                await breakpoint_.hold()


async def _call(work: Callable[[], None]) -> None:
    work()
