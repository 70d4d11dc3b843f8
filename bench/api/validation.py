"""`validate`: throughput of the training-file validator on one core, against parsing alone."""

import argparse
import time
from collections.abc import Callable

import orjson

from app.formats import DatasetValidator
from bench.api.report import measure, repeat_rows

CHUNK_BYTES = 2**20


def run(arguments: argparse.Namespace) -> None:
    data = repeat_rows(arguments.data, arguments.mebibytes * 2**20)

    def timed(work: Callable[[bytes], None]) -> Callable[[], dict[str, float]]:
        def arm() -> dict[str, float]:
            started = time.process_time()
            work(data)
            cpu_seconds = time.process_time() - started
            return {"mb_per_cpu_second": round(len(data) / cpu_seconds / 1e6, 1)}

        return arm

    arms = {"luthier": timed(validate), "parsed only": timed(parse)}
    measure(arms, len(data), arguments.rounds)


def validate(data: bytes) -> None:
    validator = DatasetValidator()
    for start in range(0, len(data), CHUNK_BYTES):
        validator.feed(data[start : start + CHUNK_BYTES])
    report = validator.finish()
    if report.error_count:
        raise SystemExit(f"The file has errors: {report.status_details()}")


def parse(data: bytes) -> None:
    for line in data.split(b"\n"):
        if line:
            orjson.loads(line)
