"""The processes that are measured: servers on free ports of the loopback, and a broker."""

import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from app.local.database import open_database
from app.local.services import environment
from app.local.supervisor import SignalCounter, Supervisor
from app.local.valkey import valkey_spec
from app.settings import Settings

SAMPLE_SECONDS = 0.05
# Counted as ever, but nothing is refused among what is timed.
UNLIMITED = "100000000"


class Watched:
    """A server process, and how much memory it takes at most."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self._process = psutil.Process(process.pid)

    def cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def resident_bytes(self) -> int:
        return int(self._process.memory_info().rss)

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
def luthier(environ: dict[str, str]) -> Iterator[Watched]:
    """The API as it is run, with no limit on requests: none is to be refused."""
    unlimited = dict.fromkeys(
        ("LUTHIER_RATE_LIMIT_REQUESTS_PER_MINUTE", "LUTHIER_MAX_CONCURRENT_REQUESTS_PER_KEY"),
        UNLIMITED,
    )
    port = free_port()
    given = environ | unlimited | {"PORT": str(port), "LUTHIER_LOG_LEVEL": "warning"}
    with serving([sys.executable, "-m", "app.cli", "api"], port, given, "/healthz") as server:
        yield server


@contextmanager
def bare(factory: str, environ: dict[str, str]) -> Iterator[Watched]:
    """A peer: FastAPI's own app, in uvicorn as it comes."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", factory, "--factory", "--port", str(port)]
    with serving([*command, "--log-level", "warning"], port, environ, "/docs") as server:
        yield server


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(
    command: list[str], port: int, environ: dict[str, str], health: str
) -> Iterator[Watched]:
    process = subprocess.Popen(command, env=environ)
    try:
        while not answers(f"http://127.0.0.1:{port}{health}"):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} does not start")
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


@contextmanager
def broker(home: Path) -> Iterator[str]:
    """The URL of a Valkey: limits are counted there, as in every installation."""
    with SignalCounter() as signals:
        supervisor = Supervisor(signals, echo=lambda _: None, on_pids_changed=lambda _: None)
        program, url = valkey_spec(home)
        supervisor.start(program)
        try:
            supervisor.wait_ready(program.name)
            yield url
        finally:
            supervisor.stop([program.name])


@dataclass(frozen=True, slots=True)
class Stack:
    """A folder with Postgres and Valkey, and the servers that are started on them."""

    settings: Settings
    database_url: str
    redis_url: str

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs to find the folder's Postgres and Valkey."""
        given = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}
        return environment(self.settings) | given


@contextmanager
def stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as folder:
        home = Path(folder, "home")
        settings = Settings(home=home, redis_url="redis://127.0.0.1:1/0")
        with open_database(settings) as url, broker(home) as redis_url:
            yield Stack(settings, url, redis_url)
