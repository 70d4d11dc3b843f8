"""The measured server processes on the loopback, and the Postgres and Valkey they use."""

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
from app.local.process_specs import environment
from app.local.supervisor import SignalCounter, Supervisor
from app.local.valkey import prepare_valkey
from app.settings import Settings

SAMPLE_SECONDS = 0.05
# Requests are still counted, but none is rejected.
UNLIMITED = "100000000"


class ServerProcess:
    """A server process with its CPU time and resident memory."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self._process = psutil.Process(process.pid)

    def cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def resident_bytes(self) -> int:
        return int(self._process.memory_info().rss)

    @contextmanager
    def measure_rss_growth(self) -> Iterator[list[int]]:
        """Yield a list that holds, after the block, the peak growth of resident memory in bytes."""
        growth: list[int] = []
        stopped = threading.Event()
        before = peak = self._process.memory_info().rss

        def sample() -> None:
            nonlocal peak
            while not stopped.wait(SAMPLE_SECONDS):
                peak = max(peak, self._process.memory_info().rss)

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield growth
        finally:
            stopped.set()
            thread.join()
            growth.append(peak - before)


@contextmanager
def run_api(environ: dict[str, str]) -> Iterator[ServerProcess]:
    """Run the API as in production, but with rate and concurrency limits out of reach."""
    unlimited = dict.fromkeys(
        ("LUTHIER_RATE_LIMIT_REQUESTS_PER_MINUTE", "LUTHIER_MAX_CONCURRENT_REQUESTS_PER_KEY"),
        UNLIMITED,
    )
    port = free_port()
    variables = environ | unlimited | {"PORT": str(port), "LUTHIER_LOG_LEVEL": "warning"}
    with run_server(
        [sys.executable, "-m", "app.cli", "api"], port, variables, "/healthz"
    ) as server:
        yield server


@contextmanager
def run_bare_app(factory: str, environ: dict[str, str]) -> Iterator[ServerProcess]:
    """Run a plain FastAPI app in uvicorn with its default settings, to compare with."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", factory, "--factory", "--port", str(port)]
    with run_server([*command, "--log-level", "warning"], port, environ, "/docs") as server:
        yield server


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def run_server(
    command: list[str], port: int, environ: dict[str, str], health: str
) -> Iterator[ServerProcess]:
    process = subprocess.Popen(command, env=environ)
    try:
        while not responds(f"http://127.0.0.1:{port}{health}"):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} did not start")
            time.sleep(0.1)
        yield ServerProcess(port, process)
    finally:
        process.terminate()
        process.wait(30)


def responds(url: str) -> bool:
    try:
        httpx.get(url, timeout=5)
    except httpx.TransportError:
        return False
    return True


@contextmanager
def run_valkey(home: Path) -> Iterator[str]:
    """Run a Valkey, which counts rate limits as in production; yields its URL."""
    with SignalCounter() as signals:
        supervisor = Supervisor(signals, echo=lambda _: None, on_pids_changed=lambda _: None)
        program, url = prepare_valkey(home)
        supervisor.start(program)
        try:
            supervisor.wait_until_ready(program.name)
            yield url
        finally:
            supervisor.stop([program.name])


@dataclass(frozen=True, slots=True)
class BackingServices:
    """Postgres and Valkey in a temporary folder, and settings that use it."""

    settings: Settings
    database_url: str
    redis_url: str

    @property
    def environ(self) -> dict[str, str]:
        """Environment of a process that uses them."""
        urls = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}
        return environment(self.settings) | urls


@contextmanager
def run_backing_services() -> Iterator[BackingServices]:
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as folder:
        # For root, Postgres runs as another user.
        Path(folder).chmod(0o711)
        home = Path(folder, "home")
        settings = Settings(home=home, redis_url="redis://127.0.0.1:1/0")
        with open_database(settings, create=True) as url, run_valkey(home) as redis_url:
            yield BackingServices(settings, url, redis_url)
