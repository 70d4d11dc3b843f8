"""Bench of the web console: its pages compared with the API's answers, and the cost of open tabs.

    python -m bench.console

Starts a Luthier of its own, writes 2,000 ended jobs and one of 100,000 metric points into its
database, and prints for each page the time of the server and that of the bare calls, and for
200 tabs with live updates the processor time and the database connections of the API.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence

import httpx
import psutil
import psycopg

from app.auth import console_sessions
from app.db.session import one_off_transaction
from app.http.console_cookie import COOKIE_NAME
from app.local.home import Home
from bench.stack import Stack, run_stack

JOBS, POINTS, TABS = 2_000, 100_000, 200
ROUNDS = 15
IDLE_SECONDS = 15.0
START_SECONDS = 60
# Of each page, and the calls of the API that it shows the answers of.
PAGES = {
    "/console/jobs": ["/v1/fine_tuning/jobs?limit=50&include[]=progress"],
    "/console/jobs/{job}": [
        "/v1/fine_tuning/jobs/{job}?include[]=progress",
        "/v1/fine_tuning/jobs/{job}/events?limit=50",
        "/v1/fine_tuning/jobs/{job}/checkpoints",
        "/v1/fine_tuning/jobs/{job}/attempts",
    ],
    # Of a job with as many steps, the page's script reads the curves.
    "/console/jobs/{job}/curves": ["/v1/fine_tuning/jobs/{job}/metrics"],
    "/console/": ["/v1/fine_tuning/jobs?limit=20&include[]=progress", "/v1/status", "/readyz"],
}
COPY_JOBS = """
    INSERT INTO jobs (id, project_id, state, base_model, method, hyperparameters, seed,
                      training_file_id, created_at, finished_at)
    SELECT 'ftjob-bench' || n, f.project_id, 'cancelled', 'smollm2-135m-instruct', 'supervised',
           '{"n_epochs": "auto"}', 7, f.id, now() - n * interval '1 minute', now()
    FROM files f, generate_series(1, %s) AS n WHERE f.id = %s
"""
# As a trainer reports them: with an event, which listeners hear of.
REPORT_STEP = """
    WITH point AS (
        INSERT INTO job_metrics (job_id, step, attempt, values)
        VALUES ('ftjob-bench2', %(step)s, 1, jsonb_build_object('train_loss', 2.0 / %(step)s))
    )
    INSERT INTO job_events (id, job_id, seq, attempt, dedupe_key, level, type, message)
    VALUES ('ftevent-bench' || %(step)s, 'ftjob-bench2', %(step)s, 1, 'step:' || %(step)s, 'info',
            'metrics', 'Step ' || %(step)s || '/1000: training loss=' || round(2.0 / %(step)s, 2))
"""
COPY_POINTS = """
    INSERT INTO job_metrics (job_id, step, attempt, values)
    SELECT 'ftjob-bench1', n, 1, jsonb_build_object('train_loss', 2.0 / n) FROM
    generate_series(1, %s) AS n
"""


def main(arguments: Sequence[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    with run_stack() as stack:
        key = (stack.home / "api_key").read_text().strip()
        database_url = _fill(stack, key)
        cookie = _log_in(database_url, key)
        _time_pages(stack, key, cookie)
        asyncio.run(_measure_tabs(stack, cookie, database_url))


def _fill(stack: Stack, key: str) -> str:
    """Write the jobs; returns the database's URL."""
    row = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'
    upload = httpx.post(
        f"{stack.url}/v1/files",
        headers={"authorization": f"Bearer {key}"},
        files={"file": ("bench.jsonl", row * 12)},
        data={"purpose": "fine-tune"},
        timeout=60,
    )
    file_id = upload.raise_for_status().json()["id"]
    running = Home(stack.home).running_stack()
    assert running is not None
    database_url = running.database_url
    with psycopg.connect(database_url.replace("postgresql+psycopg", "postgresql")) as connection:
        connection.execute(COPY_JOBS, (JOBS, file_id))
        connection.execute(COPY_POINTS, (POINTS,))
    return database_url


def _log_in(database_url: str, key: str) -> dict[str, str]:
    with one_off_transaction(database_url) as session:
        grant = console_sessions.find_grant(session, key)
        assert grant is not None
        return {COOKIE_NAME: console_sessions.create(session, grant)}


def _time_pages(stack: Stack, key: str, cookie: dict[str, str]) -> None:
    """Time pages and the calls behind them, in turns, and print medians."""
    headers = {"authorization": f"Bearer {key}"}
    print(f"{JOBS} jobs, one with {POINTS} metric points; medians of {ROUNDS} rounds")
    print(f"{'page':30} {'page':>9} {'bare calls, one after the other':>32}")
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        for page, calls in PAGES.items():
            paths = [path.format(job="ftjob-bench1") for path in (page, *calls)]
            page_ms, call_ms = [], []
            for _ in range(ROUNDS):
                page_ms.append(_time(client, paths[0], cookies=cookie))
                call_ms.append(sum(_time(client, path, headers=headers) for path in paths[1:]))
            medians = statistics.median(page_ms), statistics.median(call_ms)
            print(f"{page:30} {medians[0]:6.0f} ms {medians[1]:29.0f} ms")


def _time(client: httpx.Client, path: str, **options: dict[str, str]) -> float:
    started_at = time.perf_counter()
    # A client keeps no cookie of its own: each request says which it sends.
    client.cookies.clear()
    client.get(path, **options).raise_for_status()
    return 1000 * (time.perf_counter() - started_at)


async def _measure_tabs(stack: Stack, cookie: dict[str, str], database_url: str) -> None:
    """Print what open tabs cost the API: while nothing happens, and while a job reports steps."""
    api = _find_api(stack.pid)
    limits = httpx.Limits(max_connections=TABS + 10)
    async with httpx.AsyncClient(
        base_url=stack.url, cookies=cookie, limits=limits, timeout=60
    ) as client:
        counts = [0] * TABS
        tabs = [asyncio.create_task(_follow(client, counts, tab)) for tab in range(TABS)]
        async with asyncio.timeout(START_SECONDS):
            while not all(counts):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        before = _count_connections(database_url)
        print(f"{TABS} tabs on one running job, {before} database connections in all")
        print(f"nothing happens:    {await _measure_processor(api):5.1f} % of a core")
        steps = asyncio.create_task(_report_steps(database_url))
        received = sum(counts)
        share = await _measure_processor(api)
        print(f"a step each second: {share:5.1f} % of a core, {sum(counts) - received} messages")
        steps.cancel()
        for tab in tabs:
            tab.cancel()


async def _follow(client: httpx.AsyncClient, counts: list[int], tab: int) -> None:
    async with client.stream("GET", "/console/jobs/ftjob-bench2/live") as response:
        async for line in response.aiter_lines():
            counts[tab] += line.startswith("data:")


async def _report_steps(database_url: str) -> None:
    url = database_url.replace("postgresql+psycopg", "postgresql")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for step in range(1, 1000):
            await connection.execute(REPORT_STEP, {"step": step})
            await asyncio.sleep(1)


async def _measure_processor(process: psutil.Process) -> float:
    """The processor time of the API in percent of one core, over some seconds."""
    started_at, before = time.perf_counter(), process.cpu_times()
    await asyncio.sleep(IDLE_SECONDS)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return 100 * used / (time.perf_counter() - started_at)


def _find_api(pid: int) -> psutil.Process:
    children = psutil.Process(pid).children(recursive=True)
    return next(child for child in children if "app.api_process" in child.cmdline())


def _count_connections(database_url: str) -> int:
    with psycopg.connect(database_url.replace("postgresql+psycopg", "postgresql")) as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity").fetchone()
    assert row is not None
    return int(row[0])


if __name__ == "__main__":
    main()
