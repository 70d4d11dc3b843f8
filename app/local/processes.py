"""Child processes that die with their parent, log to a rotated file and end with all descendants.

Each child leads its own session, so a Ctrl-C in the terminal reaches only the parent, which decides
in which order the children stop.
"""

import gzip
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from app.parent_death import die_with_parent

MAX_LOG_BYTES = 16 * 2**20
# LOG.1.gz to .12.gz: with one key at its limit of lines, the log of more than a day.
MAX_ROTATED_LOGS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """Command of a process, and how to watch and stop it.

    `log` None shares the terminal; `is_ready` None means that it has no readiness check.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path | None
    is_ready: Callable[[], bool] | None = None
    # Called every few seconds while it runs; returns a sentence if an operator should look at it.
    health_problem: Callable[[], str | None] | None = None
    # For a graceful stop, which may take `stop_timeout_seconds`.
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_seconds: float = 10
    # For an immediate stop; the kernel also sends it when the parent dies.
    kill_signal: signal.Signals = signal.SIGKILL
    # User to run as; only root can set it.
    user: str | None = None
    # Whether what it leaves behind when it exits is killed before it is restarted.
    kill_group_on_exit: bool = False
    # Not restarted when it exits.
    run_once: bool = False
    # Whether the others keep running if it fails to start.
    is_optional: bool = False


def spawn(spec: ProcessSpec) -> "subprocess.Popen[bytes]":
    """Start the process. Raises OSError if its executable or its log file cannot be opened."""
    if spec.log is None:
        return _popen(spec, output=None)
    # Private, because logs name keys and projects.
    spec.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    rotate_log(spec.log)
    with spec.log.open("ab") as log:
        return _popen(spec, output=log)


def _popen(spec: ProcessSpec, *, output: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        spec.command,
        env=spec.environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        start_new_session=True,
        # Safe only because the supervisor is single-threaded. The kernel sends the signal when the
        # thread that forked exits, so children must not be started from a short-lived thread.
        preexec_fn=_die_with_parent(spec.kill_signal),
        **as_user(spec.user),
    )


def _die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` that has the kernel signal the child when its parent dies, even by SIGKILL.

    Linux only (PR_SET_PDEATHSIG). Elsewhere `Home.kill_leftovers` ends orphans at the next start.
    """
    if not sys.platform.startswith("linux"):
        return None
    parent = os.getpid()

    def request_signal() -> None:
        die_with_parent(death_signal)
        if os.getppid() != parent:  # the parent died before the call
            os._exit(1)

    return request_signal


def as_user(name: str | None) -> dict[str, Any]:
    """Arguments for `subprocess` that run a process as this user, in its primary group only."""
    if name is None:
        return {}
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


def rotate_log(log: Path) -> None:
    """Rotate a log that exceeds MAX_LOG_BYTES: compress it to LOG.1.gz and truncate it.

    Truncating works while a child writes, because children append; lines written between the two
    steps are lost.
    """
    if not log.exists() or log.stat().st_size <= MAX_LOG_BYTES:
        return
    rotated = [log.with_name(f"{log.name}.{n}.gz") for n in range(1, MAX_ROTATED_LOGS + 1)]
    for newer, older in reversed(list(pairwise(rotated))):
        with suppress(FileNotFoundError):
            newer.replace(older)
    try:
        with log.open("rb") as source, gzip.open(rotated[0], "wb", compresslevel=1) as target:
            shutil.copyfileobj(source, target)
    except OSError:  # the disk is full: free space matters more than old lines
        rotated[0].unlink(missing_ok=True)
    os.truncate(log, 0)


def tail(log: Path | None, lines: int = 12) -> str:
    """Return the last lines of a log."""
    if log is None or not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:])


def describe_exit(status: int) -> str:
    """Describe an exit status for a log line: `exited with code 1` or `was killed by SIGKILL`."""
    if status >= 0:
        return f"exited with code {status}"
    return f"was killed by {signal.Signals(-status).name}"


def descendants(pid: int) -> list[psutil.Process]:
    """All descendants of a process that this user can see."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def kill_all(processes: list[psutil.Process]) -> None:
    """Kill the processes that still run, and wait until they are gone."""
    running = [process for process in processes if is_alive(process)]
    for process in running:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(running, timeout=5)


def kill_group(leader: int) -> None:
    """Kill what is left of the session of a child that has exited."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def is_alive(process: psutil.Process) -> bool:
    """True if a process runs; a zombie does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
