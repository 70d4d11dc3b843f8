"""`jobs`: retrieve and list among a million, beside bare routes, and in the database itself."""

import argparse
import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from app.db.session import one_off_transaction
from app.jobs import service as jobs
from bench.api.bare import PROJECT
from bench.api.load import closed_loop, percentile
from bench.api.million import Filled, fill
from bench.api.report import say
from bench.api.servers import Stack, bare, luthier, stack

CLIENTS = 8
JOBS = "/v1/fine_tuning/jobs"
# Of pages in the database: enough for a P99, as far as the time allows.
ASKED = 300
ASKED_SECONDS = 5.0


def run(asked: argparse.Namespace) -> None:
    with stack() as around:
        with (
            filled(around, asked.jobs) as there,
            one_off_transaction(around.database_url) as session,
        ):
            in_database(session, there)
        theirs = around.environ | {PROJECT: there.project_id}
        with (
            luthier(around.environ) as ours,
            bare("bench.api.bare:create_app", theirs) as peer,
        ):
            ports = {"luthier": ours.port, "bare": peer.port}
            for name, paths in questions(there).items():
                compare(name, paths, ports, there.key, asked)


@contextmanager
def filled(around: Stack, count: int) -> Iterator[Filled]:
    """The table, made before anything is timed."""
    started = time.perf_counter()
    with one_off_transaction(around.database_url) as session:
        there = fill(session, around.settings.organization_slug, jobs=count)
    say(arm="setup", jobs=count, seconds=round(time.perf_counter() - started, 1))
    yield there


def questions(there: Filled) -> dict[str, list[str]]:
    """Paths by what they ask for; one deep page each, behind jobs of any age."""
    return {
        "retrieve": [f"{JOBS}/{id}" for id in there.spread],
        "list, first page": [JOBS],
        "list, deep page": [f"{JOBS}?after={id}" for id in there.spread],
        "list, metadata of 1 in 40": [f"{JOBS}?metadata[team]=team-{n}" for n in range(20)],
        "list, metadata of one": [f"{JOBS}?metadata[run]=run-{n}" for n in rare()],
    }


def rare() -> range:
    """Numbers of jobs of the first project that have metadata, of all ages."""
    return range(1_000, 1_000_000, 20_010)


def compare(
    name: str, paths: list[str], ports: dict[str, int], key: str, asked: argparse.Namespace
) -> None:
    """Both in turn; their rates, and how much of the bare route's rate ours reaches."""
    rates: dict[str, list[float]] = {each: [] for each in ports}
    took: dict[str, list[float]] = {each: [] for each in ports}
    for number in range(asked.rounds + 1):
        for each, port in ports.items():
            times = closed_loop(port, key, paths, clients=CLIENTS, seconds=asked.seconds)
            found = asyncio.run(times)
            if number:
                rates[each].append(len(found) / asked.seconds)
                took[each] += found
    for each in ports:
        say(
            arm=each,
            asked=name,
            requests_per_second=round(statistics.median(rates[each]), 1),
            p50_ms=milliseconds(took[each], 0.5),
            p99_ms=milliseconds(took[each], 0.99),
        )
    ratios = [ours / theirs for ours, theirs in zip(rates["luthier"], rates["bare"], strict=True)]
    spread = max(ratios) - min(ratios)
    say(asked=name, ratio=round(statistics.median(ratios), 3), spread=round(spread, 3))


def in_database(session: Session, there: Filled) -> None:
    """How long the services' own statements take, without HTTP. The bar for P99 is 20 ms."""
    pages: dict[str, list[tuple[dict[str, str] | None, str | None]]] = {
        "first page": [({}, None)],
        "deep page": [({}, id) for id in there.spread],
        "metadata of 1 in 40": [({"team": f"team-{n}"}, None) for n in range(20)],
        "metadata of one": [({"run": f"run-{n}"}, None) for n in rare()],
        "two common pairs": [({"team": f"team-{n}", "owner": "owner-2"}, None) for n in range(20)],
        "deep page of a common pair": [({"owner": "owner-2"}, id) for id in there.spread],
        "no job has it": [({"run": "none"}, None)],
        "jobs of others have it": [({"owner": "owner-8"}, None)],
        "without metadata": [(None, None)],
    }
    for name, questions in pages.items():
        took: list[float] = []
        for number in range(ASKED):
            if sum(took) > ASKED_SECONDS:
                break
            metadata, after = questions[number % len(questions)]
            session.expunge_all()
            started = time.perf_counter()
            jobs.list_jobs(session, there.project_id, metadata=metadata, after=after, limit=20)
            took.append(time.perf_counter() - started)
        p50, p99 = milliseconds(took, 0.5), milliseconds(took, 0.99)
        say(arm="database", asked=name, times=len(took), p50_ms=p50, p99_ms=p99)


def milliseconds(took: list[float], share: float) -> float:
    return round(percentile(took, share) * 1000, 2)
