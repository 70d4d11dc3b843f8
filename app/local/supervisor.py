"""Supervisor of child processes: starts them, restarts them with backoff, stops them in order.

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
    rotate_log,
    spawn,
    tail,
)

POLL_INTERVAL_SECONDS = 0.1
# A child that exits this often without ever being ready cannot start.
MAX_FAILED_STARTS = 3
# A child without a readiness check counts as ready after this long.
ASSUMED_READY_SECONDS = 5.0
# A child that has run this long starts again with the shortest backoff.
BACKOFF_RESET_SECONDS = 60.0
MAX_BACKOFF_SECONDS = 30.0
LOG_ROTATION_INTERVAL_SECONDS = 60.0
HEALTH_CHECK_INTERVAL_SECONDS = 15.0


class CannotStart(Exception):
    """A child cannot start; the message names it, how it exited and its last log lines."""


class Stopped(Exception):
    """A signal asked for shutdown: Ctrl-C, SIGTERM or a closed terminal."""


class SignalCounter:
    """Count of shutdown signals, checked by the main loop where it is safe to stop."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "SignalCounter":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._count)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1

    def raise_if_stopped(self) -> None:
        """Raises Stopped if a shutdown signal has arrived."""
        if self.count:
            raise Stopped


@dataclass(slots=True)
class ManagedProcess:
    """A process spec and its running process, if any."""

    spec: ProcessSpec
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    restart_at: float = 0.0
    consecutive_exits: int = 0
    was_ready: bool = False
    health_problem: str | None = None
    check_health_at: float = 0.0


@dataclass
class Supervisor:
    """`say` is told what a person should know, `changed` the children's pids at every change."""

    signals: SignalCounter
    echo: Callable[[str], None]
    on_pids_changed: Callable[[Mapping[str, int]], None]
    children: dict[str, ManagedProcess] = field(default_factory=dict)
    _logs_rotated_at: float = 0.0

    def pids(self) -> dict[str, int]:
        """Pids of the live children, by name."""
        return {name: c.process.pid for name, c in self.children.items() if c.process is not None}

    def start(self, spec: ProcessSpec) -> None:
        """Start a process and keep it running. Raises CannotStart if it cannot be executed."""
        child = self.children[spec.name] = ManagedProcess(spec)
        self._spawn(child)

    def wait_ready(self, *names: str, seconds: float = 900) -> None:
        """Poll the children until the named ones are ready.

        Raises CannotStart if one cannot start or takes over `seconds`, Stopped on a signal.
        """
        deadline = time.monotonic() + seconds
        while not all(self.children[name].was_ready for name in names):
            self.signals.raise_if_stopped()
            self.poll()
            late = [name for name in names if not self.children[name].was_ready]
            if late and time.monotonic() > deadline:
                spec = self.children[late[0]].spec
                raise CannotStart(_failure_report(spec, f"is not ready after {seconds:.0f} s"))
            time.sleep(POLL_INTERVAL_SECONDS)

    def poll(self) -> None:
        """Check every child once: restart, health check, log rotation.

        Raises CannotStart for a child that keeps exiting before it is ready.
        """
        now = time.monotonic()
        for child in self.children.values():
            if child.process is None:
                if now >= child.restart_at:
                    self._spawn(child)
            elif child.process.poll() is not None:
                self._on_exit(child, child.process.returncode)
            else:
                self._on_alive(child, now)
        if now - self._logs_rotated_at > LOG_ROTATION_INTERVAL_SECONDS:
            self._logs_rotated_at = now
            for child in self.children.values():
                if child.spec.log is not None:
                    rotate_log(child.spec.log)

    def stop(self, *stages: Iterable[str]) -> None:
        """Stop children gracefully, stage by stage; a second signal kills them."""
        for stage in stages:
            ended = [self.children.pop(name) for name in stage if name in self.children]
            for child in ended:
                if child.process is not None:
                    child.process.send_signal(child.spec.stop_signal)
            for child in ended:
                self._wait_for_exit(child)
            self.on_pids_changed(self.pids())

    def _spawn(self, child: ManagedProcess) -> None:
        try:
            child.process = spawn(child.spec)
        except OSError as error:
            raise CannotStart(f"{child.spec.name} cannot be started: {error}") from error
        child.started_at = time.monotonic()
        self.on_pids_changed(self.pids())

    def _on_alive(self, child: ManagedProcess, now: float) -> None:
        if now - child.started_at > BACKOFF_RESET_SECONDS:
            child.consecutive_exits = 0
        if child.was_ready:
            self._check_health(child, now)
            return
        if child.spec.is_ready is None:
            child.was_ready = now - child.started_at > ASSUMED_READY_SECONDS
        elif child.spec.is_ready():
            child.was_ready = True
            self.echo(f"{child.spec.name} is ready after {now - child.started_at:.1f} s")

    def _check_health(self, child: ManagedProcess, now: float) -> None:
        if child.spec.health_problem is None or now < child.check_health_at:
            return
        child.check_health_at = now + HEALTH_CHECK_INTERVAL_SECONDS
        before, child.health_problem = child.health_problem, child.spec.health_problem()
        if child.health_problem is not None and child.health_problem != before:
            self.echo(f"{child.spec.name}: {child.health_problem}")

    def _on_exit(self, child: ManagedProcess, status: int) -> None:
        child.process = None
        child.consecutive_exits += 1
        if child.spec.run_once:
            child.restart_at = math.inf
            return
        if not child.was_ready and child.consecutive_exits >= MAX_FAILED_STARTS:
            raise CannotStart(_failure_report(child.spec, describe_exit(status)))
        pause = min(0.5 * 2 ** (child.consecutive_exits - 1), MAX_BACKOFF_SECONDS)
        child.restart_at = time.monotonic() + pause
        self.echo(f"{child.spec.name} {describe_exit(status)}; restarting it in {pause:g} s")

    def _wait_for_exit(self, child: ManagedProcess) -> None:
        if child.process is None:
            return
        below = descendants(child.process.pid)
        deadline = time.monotonic() + child.spec.stop_timeout_seconds
        while child.process.poll() is None:
            if self.signals.count > 1 or time.monotonic() > deadline:
                below += descendants(child.process.pid)
                _kill(child.spec, child.process)
            time.sleep(POLL_INTERVAL_SECONDS)
        kill_all(below)


def _kill(spec: ProcessSpec, process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(spec.kill_signal)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _failure_report(spec: ProcessSpec, how: str) -> str:
    lines = tail(spec.log)
    where = f" Its last log lines, from {spec.log}:\n{lines}" if lines else ""
    return f"{spec.name} {how}.{where}"
