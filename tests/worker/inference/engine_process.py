"""The engine as a process of its own: it can be killed, and its threads and files counted."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.native_kernels import copy_kernels
from tests.polling import wait_until
from tests.worker.inference.running_engine import EngineClient

ROOT = Path(__file__).parents[3]


@dataclass
class EngineProcess:
    """`python -m worker.inference` with its data and log in `home`; it can be started again."""

    home: Path
    url: str
    process: "subprocess.Popen[bytes]"

    @property
    def client(self) -> EngineClient:
        return EngineClient(self.url)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def start_again(self) -> None:
        self.process = start_process(self.home, self.url)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        wait_until("the engine is ready", self._is_ready)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, (self.home / "log").read_text()
        with suppress(httpx.TransportError):
            return self.client.is_ready()
        return False

    def count_threads(self) -> int:
        return psutil.Process(self.process.pid).num_threads()

    def count_files(self) -> int:
        """Count open files, connections included."""
        return psutil.Process(self.process.pid).num_fds()


def start_process(home: Path, url: str) -> "subprocess.Popen[bytes]":
    environment = {
        **os.environ,
        "LUTHIER_HOME": str(home),
        "LUTHIER_MODELS_FILE": str(home / "models.toml"),
        "LUTHIER_ENGINE_URL": url,
        "LUTHIER_TORCH_THREADS": "1",
    }
    with (home / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "worker.inference"], cwd=ROOT, env=environment, stderr=log
        )


@contextmanager
def engine_process(home: Path, models: str, url: str) -> Iterator[EngineProcess]:
    """Run an engine until the block ends."""
    copy_kernels(home)
    (home / "models.toml").write_text(models)
    engine = EngineProcess(home, url, start_process(home, url))
    try:
        engine.wait_until_ready()
        yield engine
    finally:
        engine.kill()
