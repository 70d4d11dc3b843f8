"""`judge`: MB/s of the judge in one process on one core, beside a loop that only parses lines."""

import argparse
import time
from collections.abc import Callable

import orjson

from app.formats import DatasetValidator
from bench.api.report import measure, rows

CHUNK = 2**20


def run(asked: argparse.Namespace) -> None:
    data = rows(asked.data, asked.mebibytes * 2**20)

    def timed(work: Callable[[bytes], None]) -> Callable[[], dict[str, float]]:
        def arm() -> dict[str, float]:
            started = time.process_time()
            work(data)
            cpu = time.process_time() - started
            return {"mb_per_cpu_second": round(len(data) / cpu / 1e6, 1)}

        return arm

    measure({"luthier": timed(judged), "parsed only": timed(parsed)}, len(data), asked.rounds)


def judged(data: bytes) -> None:
    judge = DatasetValidator()
    for start in range(0, len(data), CHUNK):
        judge.feed(data[start : start + CHUNK])
    verdict = judge.finish()
    if verdict.error_count:
        raise SystemExit(f"The file has faults: {verdict.status_details()}")


def parsed(data: bytes) -> None:
    for line in data.split(b"\n"):
        if line:
            orjson.loads(line)
