"""Closed-loop load generator: persistent HTTP/1.1 connections that cost little CPU themselves."""

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
        """The response body. Raises RuntimeError for any status but 200."""
        return await self._send(f"GET {path}{self._headers}\r\n".encode(), path)

    async def post(self, path: str, body: str) -> bytes:
        """The response body to a JSON request. Raises RuntimeError for any status but 200."""
        content = body.encode()
        headers = f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        return await self._send(f"POST {path}{self._headers}{headers}".encode() + content, path)

    async def _send(self, request: bytes, path: str) -> bytes:
        self._writer.write(request)
        head = (await self._reader.readuntil(HEAD_END)).lower()
        body = await self._read_body(head)
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"{path} responded with {head[:30]!r}: {body[:300]!r}")
        return body

    async def _read_body(self, head: bytes) -> bytes:
        """A body with a Content-Length, or in chunks, as proxied engine responses are."""
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
    """Latencies in seconds of GET requests by clients that each send the next one at once."""
    next_path = cycle(paths)
    deadline = time.perf_counter() + seconds
    latencies: list[float] = []

    async def run_client() -> None:
        client = Client(port, key)
        await client.open()
        while (started := time.perf_counter()) < deadline:
            await client.get(next(next_path))
            latencies.append(time.perf_counter() - started)
        client.close()

    await asyncio.gather(*(run_client() for _ in range(clients)))
    return latencies


async def post_each(
    port: int, key: str, path: str, bodies: Iterable[str], *, clients: int
) -> list[float]:
    """Latencies in seconds of POST requests; each body is sent once, by the next free client."""
    remaining = iter(bodies)
    latencies: list[float] = []

    async def run_client() -> None:
        client = Client(port, key)
        await client.open()
        for body in remaining:
            started = time.perf_counter()
            await client.post(path, body)
            latencies.append(time.perf_counter() - started)
        client.close()

    await asyncio.gather(*(run_client() for _ in range(clients)))
    return latencies


def percentile(values: Iterable[float], quantile: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]
