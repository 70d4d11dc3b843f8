"""A TCP proxy that breaks what passes through it, on command. Loopback only."""

import asyncio
import random
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

T = TypeVar("T")
# What the proxy connects to: a port of this machine or a Unix socket.
Upstream = int | str

CHUNK = 2**16
# Postgres' answer to a COMMIT, as its protocol spells it.
COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"


class Network:
    """The event loop in a thread of its own in which all proxies of a test run live."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network")
        self._thread.start()

    def call(self, work: Awaitable[T]) -> T:
        """The result of `work`, done in the network's thread."""

        async def run() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    def proxy(self, upstream: Upstream) -> "Proxy":
        return self.call(Proxy.listening(self, upstream))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()


class Cut(Exception):
    """The connection is to be reset, both ways."""


@dataclass(eq=False)
class Trap:
    """Stops the first connection on which `client` and then `server` bytes were seen.

    With `server` None the bytes of `client` themselves are held back; else the answer is. `after`
    must have passed from the client on the same connection before. `release` lets the bytes go on,
    `spring` resets the connection instead.
    """

    client: bytes
    server: bytes | None = None
    after: bytes = b""
    reached: threading.Event = field(default_factory=threading.Event)
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _cut: bool = False
    _released: bool = False
    _loop: asyncio.AbstractEventLoop | None = None

    async def hold(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.reached.set()
        if not self._released:
            await self._open.wait()
        if self._cut:
            raise Cut

    def wait(self, seconds: float = 30) -> None:
        assert self.reached.wait(seconds), f"nothing passed that matches {self.client!r}"

    def release(self) -> None:
        self._released = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._open.set)

    def spring(self) -> None:
        self._cut = True
        self.release()


@dataclass(eq=False)
class Link:
    """One connection: what the client sent in its present transaction, and both writers."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    sent: bytes = b""

    def abort(self) -> None:
        for writer in (self.client, self.server):
            # Reset, not closed: what was sent and not yet read is lost too.
            with suppress(OSError):
                _socket(writer).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0" * 2)
            writer.transport.abort()


def _socket(writer: asyncio.StreamWriter) -> Any:
    return writer.get_extra_info("socket")


class Proxy:
    """One way to one server. A fault set here is met by all who came this way, and by nobody else.

    latency        seconds that each piece waits, each way
    is_black_hole  connections are accepted and everything sent on them waits, until it is False
    cut_commits    share of COMMITs whose answer is cut off, though the commit has happened
    """

    def __init__(self, network: Network, upstream: Upstream) -> None:
        self.latency = 0.0
        self.cut_commits = 0.0
        self.commits_cut = 0
        self.port = 0
        self._network = network
        self._upstream = upstream
        self._random = random.Random(7)
        self._links: set[Link] = set()
        self._traps: list[Trap] = []
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None

    @classmethod
    async def listening(cls, network: Network, upstream: Upstream) -> Self:
        proxy = cls(network, upstream)
        await proxy._listen()
        return proxy

    @property
    def is_black_hole(self) -> bool:
        return not self._open.is_set()

    def black_hole(self) -> None:
        """From now on nothing passes, and nobody is told."""
        self._network.call(_do(self._open.clear))

    def refuse(self) -> None:
        """Reset all connections and refuse new ones, until healed."""
        self._network.call(self._refuse())

    def cut(self) -> None:
        """Reset all connections; new ones work."""
        self._network.call(_do(self._abort))

    def heal(self) -> None:
        """End of all faults but traps. What waited in a black hole arrives now, late."""
        self.latency = self.cut_commits = 0.0
        self._network.call(self._heal())

    def trap(self, client: bytes, server: bytes | None = None, *, after: bytes = b"") -> Trap:
        trap = Trap(client, server, after)
        self._traps.append(trap)
        return trap

    def close(self) -> None:
        for trap in self._traps:
            trap.spring()
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
        for link in list(self._links):
            link.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, server_writer)
        self._links.add(link)
        ways = [
            asyncio.create_task(self._pump(reader, server_writer, link, self._from_client)),
            asyncio.create_task(self._pump(server_reader, writer, link, self._from_server)),
        ]
        try:
            await asyncio.gather(*ways)
        except (Cut, OSError):
            link.abort()
        finally:
            self._links.discard(link)
            for way in ways:
                way.cancel()
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
        link: Link,
        look: Callable[[Link, bytes], Awaitable[None]],
    ) -> None:
        while data := await reader.read(CHUNK):
            if self.latency:
                await asyncio.sleep(self.latency)
            await self._open.wait()
            await look(link, data)
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def _from_client(self, link: Link, data: bytes) -> None:
        link.sent = (link.sent + data)[-CHUNK:]
        await self._spring(link, data, answer=False)

    async def _from_server(self, link: Link, data: bytes) -> None:
        await self._spring(link, data, answer=True)
        if COMMITTED not in data:
            return
        link.sent = b""
        if self._random.random() < self.cut_commits:
            self.commits_cut += 1
            raise Cut

    async def _spring(self, link: Link, data: bytes, *, answer: bool) -> None:
        for trap in list(self._traps):
            wanted = trap.server if answer else trap.client
            if answer != (trap.server is not None) or wanted is None or wanted not in data:
                continue
            if trap.client in link.sent and trap.after in link.sent:
                self._traps.remove(trap)
                await trap.hold()


async def _do(work: Callable[[], None]) -> None:
    work()
