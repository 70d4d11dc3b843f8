"""Child processes that die with their parent, write to a bounded log and end with all they began.

A child leads a session of its own, so that a Ctrl-C in the terminal reaches the parent alone and
the parent decides in which order the children end.
"""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

MAX_LOG_BYTES = 16 * 2**20
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run and how to end it. `log` None shares the terminal; `ready` None asks nothing."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path | None
    ready: Callable[[], bool] | None = None
    # Asked now and then while it runs: a sentence if a person should look at it.
    trouble: Callable[[], str | None] | None = None
    # Asks it to end in good order, for so many seconds.
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10
    # Ends it at once; also what the kernel sends it when the parent was killed.
    kill_signal: signal.Signals = signal.SIGKILL
    # Run as this user; only root can.
    user: str | None = None
    # Ends by itself and is not started again.
    once: bool = False


def spawn(program: Program) -> "subprocess.Popen[bytes]":
    """Start the program. Raises OSError if its executable or its log file cannot be had."""
    if program.log is None:
        return _popen(program, output=None)
    # Logs name keys and projects, which is nobody else's business.
    program.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    bound(program.log)
    with program.log.open("ab") as log:
        return _popen(program, output=log)


def _popen(program: Program, *, output: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        program.command,
        env=program.environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        start_new_session=True,
        # Safe here as nowhere else: whoever starts children has a single thread. The kernel ties
        # the signal to that thread, so children must not be started from a passing one anyway.
        preexec_fn=_leash(program.kill_signal),
        **as_user(program.user),
    )


def _leash(at_death: signal.Signals) -> Callable[[], None] | None:
    """What makes a child receive a signal when its parent dies, even by SIGKILL (Linux only).

    Elsewhere `home.Home.end_leftovers` finds the orphans at the next start.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def attach() -> None:
        prctl(PR_SET_PDEATHSIG, int(at_death))
        if os.getppid() != parent:  # it died before the leash was on
            os._exit(1)

    return attach


def as_user(name: str | None) -> dict[str, Any]:
    """Arguments of `subprocess` that run a program as this user and with its group alone."""
    if name is None:
        return {}
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


def bound(log: Path) -> None:
    """Keep a log below 16 MiB: its end so far becomes LOG.1, and it goes on empty.

    Truncating works under a writer, for children append; lines between the two steps are lost.
    """
    if not log.exists() or log.stat().st_size <= MAX_LOG_BYTES:
        return
    older = log.with_name(f"{log.name}.1")
    try:
        shutil.copyfile(log, older)
    except OSError:  # the disk is full, and space matters more than old lines
        older.unlink(missing_ok=True)
    os.truncate(log, 0)


def tail(log: Path | None, lines: int = 12) -> str:
    """The last lines of a log."""
    if log is None or not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:])


def ending(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"ended with exit code {status}"
    return f"was ended by {signal.Signals(-status).name}"


def family(pid: int) -> list[psutil.Process]:
    """All processes below this one, as far as they can be seen."""
    found: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        found = psutil.Process(pid).children(recursive=True)
    return found


def end_all(processes: list[psutil.Process]) -> None:
    """Kill those of these processes that still run, and wait until they are gone."""
    running = [process for process in processes if is_alive(process)]
    for process in running:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(running, timeout=5)


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs; a zombie, dead but not yet noticed by its parent, does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
