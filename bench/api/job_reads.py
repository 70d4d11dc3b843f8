"""`jobs`: retrieve and list jobs in a large table, against bare routes and the queries alone."""

import argparse
import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from app.db.session import one_off_transaction
from app.jobs import service as jobs
from bench.api.bare_routes import PROJECT_VARIABLE
from bench.api.job_table import JobTable, fill
from bench.api.load_generator import closed_loop, percentile
from bench.api.report import print_result
from bench.api.servers import BackingServices, run_api, run_backing_services, run_bare_app

CLIENTS = 8
JOBS_PATH = "/v1/fine_tuning/jobs"
# Queries per kind of page: enough for a P99, within the time limit.
MAX_QUERIES = 300
MAX_QUERY_SECONDS = 5.0


def run(arguments: argparse.Namespace) -> None:
    with run_backing_services() as services:
        with (
            filled_job_table(services, arguments.jobs) as table,
            one_off_transaction(services.database_url) as session,
        ):
            measure_queries(session, table)
        bare_environ = services.environ | {PROJECT_VARIABLE: table.project_id}
        with (
            run_api(services.environ) as api,
            run_bare_app("bench.api.bare_routes:create_app", bare_environ) as bare,
        ):
            ports = {"luthier": api.port, "bare": bare.port}
            for name, paths in request_paths(table).items():
                compare(name, paths, ports, table.key, arguments)


@contextmanager
def filled_job_table(services: BackingServices, count: int) -> Iterator[JobTable]:
    """Fill the tables before anything is measured."""
    started = time.perf_counter()
    with one_off_transaction(services.database_url) as session:
        table = fill(session, services.settings.organization_slug, jobs=count)
    print_result(arm="setup", jobs=count, seconds=round(time.perf_counter() - started, 1))
    yield table


def request_paths(table: JobTable) -> dict[str, list[str]]:
    """Paths by kind of request. Deep pages start behind jobs of any age."""
    return {
        "retrieve": [f"{JOBS_PATH}/{id}" for id in table.sampled],
        "list, first page": [JOBS_PATH],
        "list, deep page": [f"{JOBS_PATH}?after={id}" for id in table.sampled],
        "list, metadata of 1 in 40": [f"{JOBS_PATH}?metadata[team]=team-{n}" for n in range(20)],
        "list, metadata of one": [f"{JOBS_PATH}?metadata[run]=run-{n}" for n in unique_runs()],
    }


def unique_runs() -> range:
    """Numbers of the first project's jobs that have metadata, across all ages."""
    return range(1_000, 1_000_000, 20_010)


def compare(
    name: str, paths: list[str], ports: dict[str, int], key: str, arguments: argparse.Namespace
) -> None:
    """Measure both servers in turn; print their rates and latencies, and the ratio of rates."""
    rates: dict[str, list[float]] = {arm: [] for arm in ports}
    latencies: dict[str, list[float]] = {arm: [] for arm in ports}
    for number in range(arguments.rounds + 1):
        for arm, port in ports.items():
            loop = closed_loop(port, key, paths, clients=CLIENTS, seconds=arguments.seconds)
            measured = asyncio.run(loop)
            if number:
                rates[arm].append(len(measured) / arguments.seconds)
                latencies[arm] += measured
    for arm in ports:
        print_result(
            arm=arm,
            request=name,
            requests_per_second=round(statistics.median(rates[arm]), 1),
            p50_ms=percentile_ms(latencies[arm], 0.5),
            p99_ms=percentile_ms(latencies[arm], 0.99),
        )
    ratios = [api / bare for api, bare in zip(rates["luthier"], rates["bare"], strict=True)]
    spread = max(ratios) - min(ratios)
    print_result(request=name, ratio=round(statistics.median(ratios), 3), spread=round(spread, 3))


def measure_queries(session: Session, table: JobTable) -> None:
    """Measure the service's own queries without HTTP. The target for P99 is 20 ms."""
    pages: dict[str, list[tuple[dict[str, str] | None, str | None]]] = {
        "first page": [({}, None)],
        "deep page": [({}, id) for id in table.sampled],
        "metadata of 1 in 40": [({"team": f"team-{n}"}, None) for n in range(20)],
        "metadata of one": [({"run": f"run-{n}"}, None) for n in unique_runs()],
        "two common pairs": [({"team": f"team-{n}", "owner": "owner-2"}, None) for n in range(20)],
        "deep page of a common pair": [({"owner": "owner-2"}, id) for id in table.sampled],
        "metadata of no job": [({"run": "none"}, None)],
        "metadata of other projects": [({"owner": "owner-8"}, None)],
        "without metadata": [(None, None)],
    }
    for name, queries in pages.items():
        latencies: list[float] = []
        for number in range(MAX_QUERIES):
            if sum(latencies) > MAX_QUERY_SECONDS:
                break
            metadata, after = queries[number % len(queries)]
            session.expunge_all()
            started = time.perf_counter()
            jobs.list_jobs(session, table.project_id, metadata=metadata, after=after, limit=20)
            latencies.append(time.perf_counter() - started)
        p50, p99 = percentile_ms(latencies, 0.5), percentile_ms(latencies, 0.99)
        print_result(arm="database", request=name, queries=len(latencies), p50_ms=p50, p99_ms=p99)


def percentile_ms(latencies: list[float], quantile: float) -> float:
    return round(percentile(latencies, quantile) * 1000, 2)
