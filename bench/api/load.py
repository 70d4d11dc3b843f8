"""Clients that keep their connection, cheap enough to leave the machine to the server."""

import asyncio
import time
from collections.abc import Iterable
from itertools import cycle

HEAD_END = b"\r\n\r\n"


class Client:
    """One HTTP/1.1 connection to the loopback; `open` it first."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._headers = f" HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def get(self, path: str) -> bytes:
        """The body. Raises RuntimeError for any answer but 200."""
        return await self._ask(f"GET {path}{self._headers}\r\n".encode(), path)

    async def post(self, path: str, body: str) -> bytes:
        """The body of the answer to JSON. Raises RuntimeError for any answer but 200."""
        sent = body.encode()
        about = f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n"
        return await self._ask(f"POST {path}{self._headers}{about}".encode() + sent, path)

    async def _ask(self, request: bytes, path: str) -> bytes:
        self._writer.write(request)
        head = (await self._reader.readuntil(HEAD_END)).lower()
        body = await self._body(head)
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"{path} was answered {head[:30]!r}: {body[:300]!r}")
        return body

    async def _body(self, head: bytes) -> bytes:
        """Whose length is told before it, or what an engine has answered, in chunks."""
        if b"\r\ntransfer-encoding: chunked" not in head:
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            return await self._reader.readexactly(int(length))
        body = b""
        while size := int(await self._reader.readline(), 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readline()
        return body

    def close(self) -> None:
        self._writer.close()


async def closed_loop(
    port: int, key: str, paths: Iterable[str], *, clients: int, seconds: float
) -> list[float]:
    """Seconds that each request took, with so many clients that ask one after the other."""
    turns = cycle(paths)
    until = time.perf_counter() + seconds
    took: list[float] = []

    async def ask() -> None:
        client = Client(port, key)
        await client.open()
        while (started := time.perf_counter()) < until:
            await client.get(next(turns))
            took.append(time.perf_counter() - started)
        client.close()

    await asyncio.gather(*(ask() for _ in range(clients)))
    return took


async def closed_turn(
    port: int, key: str, path: str, bodies: Iterable[str], *, clients: int
) -> list[float]:
    """Seconds that each of the requests took, each sent once by the next client that is free."""
    turns = iter(bodies)
    took: list[float] = []

    async def ask() -> None:
        client = Client(port, key)
        await client.open()
        for body in turns:
            started = time.perf_counter()
            await client.post(path, body)
            took.append(time.perf_counter() - started)
        client.close()

    await asyncio.gather(*(ask() for _ in range(clients)))
    return took


def percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
