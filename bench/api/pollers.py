"""`pollers`: idle clients that look for new events every few seconds, as users of SDKs do."""

import argparse
import asyncio
import time
from dataclasses import dataclass, field

from bench.api.load import Client
from bench.api.reading import JOBS, filled, milliseconds
from bench.api.report import say
from bench.api.servers import Watched, luthier, stack

# Enough to look in; the table of jobs is measured elsewhere.
JOBS_THERE = 10_000


@dataclass
class Seen:
    """What the clients saw once all had come."""

    took: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def run(asked: argparse.Namespace) -> None:
    with (
        stack() as around,
        filled(around, JOBS_THERE) as there,
        luthier(around.environ) as server,
    ):
        before = server.resident_bytes()
        paths = [f"{JOBS}/{id}/events" for id in there.latest]
        seen = asyncio.run(poll(server, there.key, paths, asked))
        if not seen.took:
            raise SystemExit(f"Nobody was answered: {seen.errors[:3]}")
        say(
            arm="pollers",
            clients=asked.clients,
            every_seconds=asked.every,
            polls=len(seen.took),
            errors=len(seen.errors),
            first_errors=seen.errors[:3],
            p50_ms=milliseconds(seen.took, 0.5),
            p99_ms=milliseconds(seen.took, 0.99),
            rss_before_mb=round(before / 1e6, 1),
            rss_mb=round(server.resident_bytes() / 1e6, 1),
        )


async def poll(server: Watched, key: str, paths: list[str], asked: argparse.Namespace) -> Seen:
    """All of them, evenly spread over the time between polls. Nobody's first poll is counted."""
    seen = Seen()
    start = time.perf_counter() + asked.every
    tasks = []
    for number in range(asked.clients):
        first = start + number * asked.every / asked.clients
        path = paths[number % len(paths)]
        tasks.append(one(server.port, key, path, first, asked, seen))
    await asyncio.gather(watch(server, start + asked.every, asked.seconds), *tasks)
    return seen


async def one(
    port: int, key: str, path: str, first: float, asked: argparse.Namespace, seen: Seen
) -> None:
    """A client that polls until the time is over. Whatever goes wrong ends it and is an error."""
    client = Client(port, key)
    last = first + asked.every + asked.seconds
    due = first
    try:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        # Only now: the service hangs up on who connects and says nothing.
        await client.open()
        while due < last:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            started = time.perf_counter()
            await client.get(path)
            if due > first:
                seen.took.append(time.perf_counter() - started)
            due += asked.every
        client.close()
    except (OSError, EOFError, RuntimeError) as error:
        seen.errors.append(repr(error))


async def watch(server: Watched, start: float, seconds: float) -> None:
    """The share of one core that the process takes."""
    await asyncio.sleep(max(0.0, start - time.perf_counter()))
    before, began = server.cpu_seconds(), time.perf_counter()
    await asyncio.sleep(seconds)
    share = (server.cpu_seconds() - before) / (time.perf_counter() - began)
    say(arm="pollers", share_of_a_core=round(share, 3))
