"""`pollers`: persistent clients that poll a job's events every few seconds, as SDK users do."""

import argparse
import asyncio
import time
from dataclasses import dataclass, field

from bench.api.job_reads import JOBS_PATH, filled_job_table, percentile_ms
from bench.api.load_generator import Client
from bench.api.report import print_result
from bench.api.servers import ServerProcess, run_api, run_backing_services

# Small: large tables are measured by `jobs`.
JOBS_IN_TABLE = 10_000


@dataclass
class PollResults:
    """Latencies in seconds of all polls after each client's first, and errors."""

    latencies: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def run(arguments: argparse.Namespace) -> None:
    with (
        run_backing_services() as services,
        filled_job_table(services, JOBS_IN_TABLE) as table,
        run_api(services.environ) as server,
    ):
        rss_before = server.resident_bytes()
        paths = [f"{JOBS_PATH}/{id}/events" for id in table.latest]
        results = asyncio.run(poll_all(server, table.key, paths, arguments))
        if not results.latencies:
            raise SystemExit(f"No poll succeeded: {results.errors[:3]}")
        print_result(
            arm="pollers",
            clients=arguments.clients,
            interval_seconds=arguments.interval,
            polls=len(results.latencies),
            errors=len(results.errors),
            first_errors=results.errors[:3],
            p50_ms=percentile_ms(results.latencies, 0.5),
            p99_ms=percentile_ms(results.latencies, 0.99),
            rss_before_mb=round(rss_before / 1e6, 1),
            rss_mb=round(server.resident_bytes() / 1e6, 1),
        )


async def poll_all(
    server: ServerProcess, key: str, paths: list[str], arguments: argparse.Namespace
) -> PollResults:
    """Run all clients, evenly spread over the interval. No client's first poll is counted."""
    results = PollResults()
    start = time.perf_counter() + arguments.interval
    clients = []
    for number in range(arguments.clients):
        first_poll_at = start + number * arguments.interval / arguments.clients
        path = paths[number % len(paths)]
        clients.append(poll(server.port, key, path, first_poll_at, arguments, results))
    cpu_share = measure_cpu_share(server, start + arguments.interval, arguments.seconds)
    await asyncio.gather(cpu_share, *clients)
    return results


async def poll(
    port: int,
    key: str,
    path: str,
    first_poll_at: float,
    arguments: argparse.Namespace,
    results: PollResults,
) -> None:
    """Poll until the time is over. Any failure ends the client and is recorded as an error."""
    client = Client(port, key)
    deadline = first_poll_at + arguments.interval + arguments.seconds
    due = first_poll_at
    try:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        # Not earlier: the server closes connections that send nothing.
        await client.open()
        while due < deadline:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            started = time.perf_counter()
            await client.get(path)
            if due > first_poll_at:
                results.latencies.append(time.perf_counter() - started)
            due += arguments.interval
        client.close()
    except (OSError, EOFError, RuntimeError) as error:
        results.errors.append(repr(error))


async def measure_cpu_share(server: ServerProcess, start: float, seconds: float) -> None:
    """Print the server's CPU time per second, in cores."""
    await asyncio.sleep(max(0.0, start - time.perf_counter()))
    before, began = server.cpu_seconds(), time.perf_counter()
    await asyncio.sleep(seconds)
    cores = (server.cpu_seconds() - before) / (time.perf_counter() - began)
    print_result(arm="pollers", cpu_cores=round(cores, 3))
