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
        self._headers = f" HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n\r\n"

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def get(self, path: str) -> bytes:
        """The body. Raises RuntimeError for any answer but 200."""
        self._writer.write(f"GET {path}{self._headers}".encode())
        head = (await self._reader.readuntil(HEAD_END)).lower()
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        body = await self._reader.readexactly(int(length))
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"{path} was answered {head[:30]!r}: {body[:300]!r}")
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


def percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
