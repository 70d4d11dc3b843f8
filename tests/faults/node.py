"""One process of the service, as on a machine of its own."""

import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from app.local import process_specs
from app.local.processes import ProcessSpec, spawn
from app.settings import Settings
from tests.faults.backing_services import BackingServices, proxied_database_url
from tests.faults.network import Proxy
from tests.faults.object_store import KEY_ID, SECRET
from tests.native_kernels import copy_kernels

ROOT = Path(__file__).resolve().parents[2]
TRAINER_COMMAND = (sys.executable, str(Path(__file__).with_name("deterministic_trainer.py")))
# Part of each training text and each password: no log may contain it.
CANARY = "canary-7c1f"
# A tenth of production's, so that leases expire while a test waits.
LEASE_SECONDS = 6.0
HEARTBEAT_SECONDS = 0.5
POLL_SECONDS = 1.0


class Node:
    """A process with its own home, and its own proxies to the servers.

    `bucket` also names the database. `changes` are settings.
    """

    def __init__(
        self, servers: BackingServices, bucket: str, home: Path, name: str, **changes: Any
    ) -> None:
        self.name = name
        self.database = servers.network.proxy(servers.postgres_socket)
        self.broker = servers.network.proxy(servers.valkey_socket)
        self.objects = servers.network.proxy(servers.objects.port)
        self.settings = Settings(
            **{
                "home": home,
                "database_url": proxied_database_url(self.database.port, bucket, name, CANARY),
                "redis_url": f"redis://127.0.0.1:{self.broker.port}/0",
                "s3_bucket": bucket,
                "s3_endpoint_url": f"http://127.0.0.1:{self.objects.port}",
                "s3_access_key_id": KEY_ID,
                "s3_secret_access_key": SECRET,
                "models_file": ROOT / "models.toml",
                "lease_seconds": LEASE_SECONDS,
                "heartbeat_interval_seconds": HEARTBEAT_SECONDS,
                "poll_interval_seconds": POLL_SECONDS,
                "torch_threads": 1,
                "training_command": shlex.join(TRAINER_COMMAND),
                **changes,
            }
        )
        copy_kernels(self.settings.home)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def proxies(self) -> tuple[Proxy, Proxy, Proxy]:
        return self.database, self.broker, self.objects

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    @property
    def log(self) -> str:
        return "".join(path.read_text() for path in sorted(self.settings.home.glob("logs/*.log*")))

    def start(self, **environment: str) -> None:
        self._process = spawn(self._spec(**environment))

    def _spec(self, **environment: str) -> ProcessSpec:
        make = {
            "api": process_specs.api_spec,
            "trainer": process_specs.trainer_spec,
            "io": process_specs.io_spec,
        }
        spec = make[self.name.partition("-")[0]](self.settings)
        return ProcessSpec(
            name=spec.name,
            command=spec.command,
            environment={**spec.environment, **environment},
            log=spec.log,
            is_ready=spec.is_ready,
        )

    def is_ready(self) -> bool:
        check = self._spec().is_ready
        return check is None or check()

    def kill(self) -> None:
        """Send SIGKILL, and wait for the death."""
        self.process.kill()
        self.process.wait(120)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = 120) -> int:
        """Wait for the process to end after `terminate`; its exit code."""
        return self.process.wait(seconds)

    def training_processes(self) -> list[psutil.Process]:
        """Its running training processes."""
        return [process for process in self._descendants() if _is_training(process)]

    def fork_servers(self) -> list[psutil.Process]:
        """A trainer's fork server, if it runs."""
        return [process for process in self._descendants() if _is_fork_server(process)]

    def _descendants(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def run_folder(self, job_id: str) -> Path | None:
        folders = sorted(self.settings.home.glob(f"runs/{job_id}-attempt-*"))
        return folders[-1] if folders else None

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            for process in [*self._descendants(), psutil.Process(self._process.pid)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait(120)
        for proxy in self.proxies:
            proxy.close()


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs. A zombie does not: its parent only has not reaped it yet."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _is_fork_server(process: psutil.Process) -> bool:
    try:
        return is_alive(process) and process.cmdline()[-1:] == ["--fork-server"]
    except psutil.NoSuchProcess:
        return False


def _is_training(process: psutil.Process) -> bool:
    try:
        is_gone = process.status() == psutil.STATUS_ZOMBIE
        return not is_gone and any("-attempt-" in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False
