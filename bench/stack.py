"""A whole Luthier, started by `luthier up` in a temporary home, with projects and their keys."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from app.parent_death import die_with_parent
from bench.api.servers import free_port

START_SECONDS = 600
STOP_SECONDS = 120


@dataclass(frozen=True)
class Stack:
    """A running Luthier. `admin_key` opens the organization's API."""

    url: str
    home: Path
    pid: int
    admin_key: str

    def make_project(self, name: str) -> str:
        """Make a project; returns the secret of its first key."""
        with httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.admin_key}"}, timeout=60
        ) as admin:
            project = admin.post("/v1/organization/projects", json={"name": name})
            path = f"/v1/organization/projects/{project.raise_for_status().json()['id']}"
            account = admin.post(f"{path}/service_accounts", json={"name": "bench"})
            return str(account.raise_for_status().json()["api_key"]["value"])


@contextmanager
def run_stack(**variables: str) -> Iterator[Stack]:
    """Run `luthier up` in a temporary home, with these environment variables."""
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as folder:
        # For root, Postgres runs as another user.
        Path(folder).chmod(0o711)
        with run_stack_in(Path(folder), **variables) as stack:
            yield stack


@contextmanager
def run_stack_in(folder: Path, *, poll_seconds: float = 0.5, **variables: str) -> Iterator[Stack]:
    """Run `luthier up` with the home `folder`/home, and yield it once it is ready."""
    home, port = folder / "home", free_port()
    url = f"http://127.0.0.1:{port}"
    own = {"LUTHIER_HOME": str(home), "PORT": str(port)}
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.entry", "up"],
            env=os.environ | own | variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            # A benchmark that is killed leaves nothing running.
            preexec_fn=partial(die_with_parent, signal.SIGINT),
        )
        try:
            _wait_until_ready(process, url, folder / "up.log", poll_seconds)
            yield Stack(url, home, process.pid, (home / "admin_key").read_text().strip())
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_SECONDS)


def _wait_until_ready(
    process: subprocess.Popen[bytes], url: str, log: Path, poll_seconds: float
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _is_ready(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"`luthier up` did not start:\n{log.read_text()}")
        time.sleep(poll_seconds)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=60).status_code == 200
    except httpx.TransportError:
        return False
