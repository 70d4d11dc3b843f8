"""The API against bare routes that do the same reading or writing: each arm one JSON line.

    python -m bench.api judge --data FILE.jsonl
    python -m bench.api upload --data FILE.jsonl [--mebibytes 512]

`judge` reads chat-shaped rows in one process on one core: MB/s of the judge, and of a bare loop
that parses each line and asks nothing of it. `upload` sends one training file to an API process of
its own (embedded Postgres, a folder as store), judged on the way; and to a bare FastAPI route that
writes the same multipart body to a file as it comes, and to one that takes an `UploadFile`. FILE's
rows are repeated. Arms are interleaved, the first round is not counted, MB are 10^6 bytes.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import httpx
import orjson
import psutil
from fastapi import FastAPI, Request, UploadFile

from app.db.session import once
from app.formats import Judge
from app.services import keys
from app.settings import Settings
from app.stack.database import database
from app.stack.programs import environment

CHUNK = 2**20
BOUNDARY = "bench-boundary"
SAMPLE_SECONDS = 0.05
FOLDER = "BENCH_FOLDER"


def judged(data: bytes) -> None:
    judge = Judge()
    for start in range(0, len(data), CHUNK):
        judge.feed(data[start : start + CHUNK])
    verdict = judge.finish()
    if verdict.fault_count:
        raise SystemExit(f"The file has faults: {verdict.details()}")


def parsed(data: bytes) -> None:
    for line in data.split(b"\n"):
        if line:
            orjson.loads(line)


def bare() -> FastAPI:
    """What a route costs that keeps a body and does nothing else."""
    app, folder = FastAPI(), Path(os.environ[FOLDER])

    @app.post("/stream")
    async def stream(request: Request) -> None:
        with (folder / "stream").open("wb") as file:
            async for chunk in request.stream():
                file.write(chunk)

    @app.post("/form")
    def form(file: UploadFile) -> None:
        with (folder / "form").open("wb") as target:
            shutil.copyfileobj(file.file, target, CHUNK)

    return app


class Watched:
    """A server process, and how much memory it takes at most."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self._process = psutil.Process(process.pid)

    @contextmanager
    def growth(self) -> Iterator[list[int]]:
        """The bytes of resident memory that the block added at the highest; one, at its end."""
        grown: list[int] = []
        over = threading.Event()
        before = peak = self._process.memory_info().rss

        def watch() -> None:
            nonlocal peak
            while not over.wait(SAMPLE_SECONDS):
                peak = max(peak, self._process.memory_info().rss)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield grown
        finally:
            over.set()
            thread.join()
            grown.append(peak - before)


@contextmanager
def serving(factory: str, environ: dict[str, str], health: str) -> Iterator[Watched]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "uvicorn", factory, "--factory", "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "warning"], env=environ)
    try:
        while not answers(f"http://127.0.0.1:{port}{health}"):
            if process.poll() is not None:
                raise SystemExit(f"{factory} does not start")
            time.sleep(0.1)
        yield Watched(port, process)
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=5)
    except httpx.TransportError:
        return False
    return True


def send(port: int, path: str, block: bytes, blocks: int, key: str) -> dict[str, object]:
    """One multipart upload of so many blocks, in the memory of one."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    ).encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(blocks):
            yield block
        yield tail

    headers = {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Content-Length": str(len(head) + blocks * len(block) + len(tail)),
        "Authorization": f"Bearer {key}",
    }
    connection = HTTPConnection("127.0.0.1", port, timeout=600, blocksize=CHUNK)
    connection.request("POST", path, body(), headers)
    answer = connection.getresponse()
    told = answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"{path} answered {answer.status}: {told[:500]!r}")
    shown: dict[str, object] = orjson.loads(told) or {}
    return shown


def measure(arms: dict[str, Callable[[], dict[str, float]]], size: int, rounds: int) -> None:
    """Run the arms in turn; a line for each run, and one for each arm's median and spread."""
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, arm in arms.items():
            started = time.perf_counter()
            more = arm()
            rate = size / (time.perf_counter() - started) / 1e6
            if number:
                rates[name].append(rate)
                say(arm=name, round=number, mb_per_second=round(rate, 1), **more)
    for name, found in rates.items():
        middle = statistics.median(found)
        spread = (max(found) - min(found)) / middle
        say(arm=name, median_mb_per_second=round(middle, 1), spread=round(spread, 3))


def say(**line: object) -> None:
    print(json.dumps(line), flush=True)


def rows(path: Path, size: int) -> bytes:
    """The rows of a file, repeated to about so many bytes."""
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        data += b"\n"
    return data * max(1, size // len(data))


def judge(asked: argparse.Namespace) -> None:
    data = rows(asked.data, asked.mebibytes * 2**20)

    def timed(work: Callable[[bytes], None]) -> Callable[[], dict[str, float]]:
        def arm() -> dict[str, float]:
            started = time.process_time()
            work(data)
            cpu = time.process_time() - started
            return {"mb_per_cpu_second": round(len(data) / cpu / 1e6, 1)}

        return arm

    measure({"luthier": timed(judged), "parsed only": timed(parsed)}, len(data), asked.rounds)


def upload(asked: argparse.Namespace) -> None:
    block = rows(asked.data, 4 * CHUNK)
    blocks = asked.mebibytes * 2**20 // len(block)
    size = blocks * len(block)
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as folder:
        settings = Settings(luthier_home=Path(folder, "home"), redis_url="redis://127.0.0.1:1/0")
        with database(settings) as url, once(url) as session:
            project = keys.ensure_default_project(session, settings.organization)
            _, key = keys.create(session, project.id, "bench")
            session.commit()
            ours = environment(settings) | {"DATABASE_URL": url, "LOG_LEVEL": "warning"}
            theirs = os.environ | {FOLDER: folder}
            with (
                serving("app.main:create_app", ours, "/healthz") as luthier,
                serving("bench.api:bare", dict(theirs), "/docs") as peer,
            ):

                def to(server: Watched, path: str) -> Callable[[], dict[str, float]]:
                    def arm() -> dict[str, float]:
                        with server.growth() as grown:
                            told = send(server.port, path, block, blocks, key)
                        if told.get("status", "processed") != "processed":
                            raise SystemExit(f"The file was not found good: {told}")
                        return {"rss_growth_mb": round(grown[0] / 1e6, 1)}

                    return arm

                arms = {
                    "luthier": to(luthier, "/v1/files"),
                    "bare stream to a file": to(peer, "/stream"),
                    "bare UploadFile": to(peer, "/form"),
                }
                measure(arms, size, asked.rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    for name, run, mebibytes in (("judge", judge, 128), ("upload", upload, 512)):
        command = commands.add_parser(name)
        command.add_argument("--data", type=Path, required=True)
        command.add_argument("--mebibytes", type=int, default=mebibytes)
        command.add_argument("--rounds", type=int, default=3)
        command.set_defaults(run=run)
    asked = parser.parse_args()
    asked.run(asked)


if __name__ == "__main__":
    main()
