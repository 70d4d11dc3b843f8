"""Supervisor of child processes: start, restart with backoff, health checks, ordered shutdown.

A single thread polls every tenth of a second, so signals, starts and restarts never interleave.
"""

import math
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from app.local.processes import (
    ProcessSpec,
    descendants,
    describe_exit,
    kill_all,
    kill_group,
    rotate_log,
    spawn,
    tail,
)

POLL_INTERVAL_SECONDS = 0.1
# A process that exits this many times without ever being ready fails to start.
MAX_FAILED_STARTS = 3
# A process without a readiness check counts as ready after this time.
ASSUMED_READY_SECONDS = 5.0
# After a process has run for this time, its next restart has the shortest backoff again.
BACKOFF_RESET_SECONDS = 60.0
MAX_BACKOFF_SECONDS = 30.0
LOG_ROTATION_INTERVAL_SECONDS = 60.0
HEALTH_CHECK_INTERVAL_SECONDS = 15.0


class StartFailed(Exception):
    """A process failed to start; the message has its name, exit status and last log lines."""


class ShutdownRequested(Exception):
    """A signal asked for shutdown: Ctrl-C, SIGTERM or a closed terminal."""


class SignalCounter:
    """Count of shutdown signals, checked by the main loop where it is safe to stop."""

    def __init__(self) -> None:
        self.count = 0
        self._previous_handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "SignalCounter":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._previous_handlers[number] = signal.signal(number, self._count)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1

    def raise_if_requested(self) -> None:
        """Raise ShutdownRequested if a shutdown signal has arrived."""
        if self.count:
            raise ShutdownRequested


@dataclass(slots=True)
class ManagedProcess:
    """A process spec and its running process, if any."""

    spec: ProcessSpec
    popen: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    restart_at: float = 0.0
    consecutive_exits: int = 0
    has_been_ready: bool = False
    has_failed_to_start: bool = False
    health_problem: str | None = None
    next_health_check_at: float = 0.0


@dataclass
class Supervisor:
    """Supervisor of processes by name, with a single-threaded main loop around `poll`.

    `echo` is called with each message for the operator, such as a restart. `on_pids_changed` is
    called with all pids by name after each start and stop.
    """

    signals: SignalCounter
    echo: Callable[[str], None]
    on_pids_changed: Callable[[Mapping[str, int]], None]
    processes: dict[str, ManagedProcess] = field(default_factory=dict)
    _logs_rotated_at: float = 0.0

    def pids(self) -> dict[str, int]:
        """Pids of the running processes, by name."""
        return {name: p.popen.pid for name, p in self.processes.items() if p.popen is not None}

    def start(self, spec: ProcessSpec) -> None:
        """Start a process and keep it running. Raises StartFailed if it cannot be executed."""
        process = self.processes[spec.name] = ManagedProcess(spec)
        self._spawn(process)

    def wait_until_ready(self, *names: str, timeout_seconds: float = 900) -> None:
        """Poll all processes until the named ones are ready.

        Raises StartFailed if one fails to start or is not ready in time, and ShutdownRequested.
        """
        deadline = time.monotonic() + timeout_seconds
        while not all(self.processes[name].has_been_ready for name in names):
            self.signals.raise_if_requested()
            self.poll()
            unready = [name for name in names if not self.processes[name].has_been_ready]
            if unready and time.monotonic() > deadline:
                spec = self.processes[unready[0]].spec
                reason = f"is not ready after {timeout_seconds:.0f} s"
                raise StartFailed(_failure_report(spec, reason))
            time.sleep(POLL_INTERVAL_SECONDS)

    def poll(self) -> None:
        """Check every process once: restart, health check, log rotation.

        Raises StartFailed for a process that keeps exiting before it is ready, unless it is
        optional: that is reported once, and tried again ever more rarely.
        """
        now = time.monotonic()
        for process in self.processes.values():
            if process.popen is None:
                if now >= process.restart_at:
                    self._spawn(process)
            elif process.popen.poll() is not None:
                self._on_exit(process, process.popen.returncode)
            else:
                self._on_alive(process, now)
        if now - self._logs_rotated_at > LOG_ROTATION_INTERVAL_SECONDS:
            self._logs_rotated_at = now
            for process in self.processes.values():
                if process.spec.log is not None:
                    rotate_log(process.spec.log)

    def stop(self, *stages: Iterable[str]) -> None:
        """Stop processes gracefully, stage by stage; a second signal kills them."""
        for stage in stages:
            stopping = [self.processes.pop(name) for name in stage if name in self.processes]
            for process in stopping:
                if process.popen is not None:
                    process.popen.send_signal(process.spec.stop_signal)
            for process in stopping:
                self._wait_for_exit(process)
            self.on_pids_changed(self.pids())

    def _spawn(self, process: ManagedProcess) -> None:
        try:
            process.popen = spawn(process.spec)
        except OSError as error:
            self._on_failed_start(process, f"{process.spec.name} cannot be started: {error}", error)
            process.consecutive_exits += 1
            process.restart_at = time.monotonic() + _backoff_seconds(process)
            return
        process.started_at = time.monotonic()
        self.on_pids_changed(self.pids())

    def _on_alive(self, process: ManagedProcess, now: float) -> None:
        if now - process.started_at > BACKOFF_RESET_SECONDS:
            process.consecutive_exits = 0
        if process.has_been_ready:
            self._check_health(process, now)
            return
        if process.spec.is_ready is None:
            process.has_been_ready = now - process.started_at > ASSUMED_READY_SECONDS
        elif process.spec.is_ready():
            process.has_been_ready = True
            process.has_failed_to_start = False
            self.echo(f"{process.spec.name} is ready after {now - process.started_at:.1f} s")

    def _check_health(self, process: ManagedProcess, now: float) -> None:
        if process.spec.health_problem is None or now < process.next_health_check_at:
            return
        process.next_health_check_at = now + HEALTH_CHECK_INTERVAL_SECONDS
        previous, process.health_problem = process.health_problem, process.spec.health_problem()
        if process.health_problem is not None and process.health_problem != previous:
            self.echo(f"{process.spec.name}: {process.health_problem}")

    def _on_exit(self, process: ManagedProcess, status: int) -> None:
        if process.spec.kill_group_on_exit and process.popen is not None:
            kill_group(process.popen.pid)
        process.popen = None
        process.consecutive_exits += 1
        if process.spec.run_once:
            process.restart_at = math.inf
            return
        if not process.has_been_ready and process.consecutive_exits >= MAX_FAILED_STARTS:
            self._on_failed_start(process, _failure_report(process.spec, describe_exit(status)))
        backoff = _backoff_seconds(process)
        process.restart_at = time.monotonic() + backoff
        if not process.has_failed_to_start:
            self.echo(
                f"{process.spec.name} {describe_exit(status)}; restarting it in {backoff:g} s"
            )

    def _on_failed_start(
        self, process: ManagedProcess, report: str, cause: OSError | None = None
    ) -> None:
        """Raise StartFailed; for an optional process, report it once."""
        if not process.spec.is_optional:
            raise StartFailed(report) from cause
        if not process.has_failed_to_start:
            process.has_failed_to_start = True
            self.echo(f"{report}\nThe rest goes on without it; it is tried again.")

    def _wait_for_exit(self, process: ManagedProcess) -> None:
        if process.popen is None:
            return
        orphans = descendants(process.popen.pid)
        deadline = time.monotonic() + process.spec.stop_timeout_seconds
        while process.popen.poll() is None:
            if self.signals.count > 1 or time.monotonic() > deadline:
                orphans += descendants(process.popen.pid)
                _kill(process.spec, process.popen)
            time.sleep(POLL_INTERVAL_SECONDS)
        kill_all(orphans)


def _backoff_seconds(process: ManagedProcess) -> float:
    # Bounded as an exponent too: an optional process may exit for days.
    return min(math.ldexp(0.5, min(process.consecutive_exits - 1, 10)), MAX_BACKOFF_SECONDS)


def _kill(spec: ProcessSpec, popen: "subprocess.Popen[bytes]") -> None:
    popen.send_signal(spec.kill_signal)
    try:
        popen.wait(5)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()


def _failure_report(spec: ProcessSpec, reason: str) -> str:
    lines = tail(spec.log)
    log = f" Its last log lines, from {spec.log}:\n{lines}" if lines else ""
    return f"{spec.name} {reason}.{log}"
