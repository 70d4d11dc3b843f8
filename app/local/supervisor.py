"""Keeps children running: starts them, starts them again when they die, stops them in order.

One thread does it all by looking every tenth of a second, so that signals, restarts and the start
of children never meet in the middle of anything.
"""

import math
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from app.local.processes import Program, bound, end_all, ending, family, spawn, tail

LOOK_SECONDS = 0.1
# A child that never got ready and died so often cannot start.
MAX_FIRST_DEATHS = 3
# A child without a question of its own counts as ready after so long.
STEADY_SECONDS = 5.0
# After so long without a death, the next one is the first again.
HEALTHY_SECONDS = 60.0
MAX_PAUSE_SECONDS = 30.0
LOG_LOOK_SECONDS = 60.0
TROUBLE_LOOK_SECONDS = 15.0


class CannotStart(Exception):
    """A child cannot start; the message says which, how it ended, and what it last wrote."""


class Stopped(Exception):
    """Somebody asked for the end (Ctrl-C, SIGTERM, a closed terminal)."""


class Interrupts:
    """Counts the signals that ask for the end; code asks at points that it chose itself."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupts":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1

    def check(self) -> None:
        """Raises Stopped if somebody has asked for the end."""
        if self.count:
            raise Stopped


@dataclass(slots=True)
class Child:
    """One program and its present process, if there is one."""

    program: Program
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    start_at: float = 0.0
    deaths: int = 0
    was_ready: bool = False
    trouble: str | None = None
    look_at: float = 0.0


@dataclass
class Keeper:
    """`say` is told what a person should know, `changed` the children's pids at every change."""

    interrupts: Interrupts
    say: Callable[[str], None]
    changed: Callable[[Mapping[str, int]], None]
    children: dict[str, Child] = field(default_factory=dict)
    _logs_looked_at: float = 0.0

    def pids(self) -> dict[str, int]:
        """The live children by name."""
        return {name: c.process.pid for name, c in self.children.items() if c.process is not None}

    def start(self, program: Program) -> None:
        """Start a program and keep it running. Raises CannotStart if it cannot be executed."""
        child = self.children[program.name] = Child(program)
        self._spawn(child)

    def wait_ready(self, *names: str, seconds: float = 900) -> None:
        """Tend the children until these are ready.

        Raises CannotStart if one cannot start or is not ready in time, Stopped at a signal.
        """
        deadline = time.monotonic() + seconds
        while not all(self.children[name].was_ready for name in names):
            self.interrupts.check()
            self.tend()
            late = [name for name in names if not self.children[name].was_ready]
            if late and time.monotonic() > deadline:
                program = self.children[late[0]].program
                raise CannotStart(_report(program, f"is not ready after {seconds:.0f} s"))
            time.sleep(LOOK_SECONDS)

    def tend(self) -> None:
        """One look at every child. Raises CannotStart if one that was never ready dies again."""
        now = time.monotonic()
        for child in self.children.values():
            if child.process is None:
                if now >= child.start_at:
                    self._spawn(child)
            elif child.process.poll() is not None:
                self._note_death(child, child.process.returncode)
            else:
                self._note_life(child, now)
        if now - self._logs_looked_at > LOG_LOOK_SECONDS:
            self._logs_looked_at = now
            for child in self.children.values():
                if child.program.log is not None:
                    bound(child.program.log)

    def stop(self, *stages: Iterable[str]) -> None:
        """End children stage by stage, each in good order; a second signal ends all at once."""
        for stage in stages:
            ended = [self.children.pop(name) for name in stage if name in self.children]
            for child in ended:
                if child.process is not None:
                    child.process.send_signal(child.program.stop_signal)
            for child in ended:
                self._wait_ended(child)
            self.changed(self.pids())

    def _spawn(self, child: Child) -> None:
        try:
            child.process = spawn(child.program)
        except OSError as error:
            raise CannotStart(f"{child.program.name} cannot be started: {error}") from error
        child.started_at = time.monotonic()
        self.changed(self.pids())

    def _note_life(self, child: Child, now: float) -> None:
        if now - child.started_at > HEALTHY_SECONDS:
            child.deaths = 0
        if child.was_ready:
            self._look_for_trouble(child, now)
            return
        if child.program.ready is None:
            child.was_ready = now - child.started_at > STEADY_SECONDS
        elif child.program.ready():
            child.was_ready = True
            self.say(f"{child.program.name} is ready after {now - child.started_at:.1f} s")

    def _look_for_trouble(self, child: Child, now: float) -> None:
        if child.program.trouble is None or now < child.look_at:
            return
        child.look_at = now + TROUBLE_LOOK_SECONDS
        before, child.trouble = child.trouble, child.program.trouble()
        if child.trouble is not None and child.trouble != before:
            self.say(f"{child.program.name}: {child.trouble}")

    def _note_death(self, child: Child, status: int) -> None:
        child.process = None
        child.deaths += 1
        if child.program.once:
            child.start_at = math.inf
            return
        if not child.was_ready and child.deaths >= MAX_FIRST_DEATHS:
            raise CannotStart(_report(child.program, ending(status)))
        pause = min(0.5 * 2 ** (child.deaths - 1), MAX_PAUSE_SECONDS)
        child.start_at = time.monotonic() + pause
        self.say(f"{child.program.name} {ending(status)}; starting it again in {pause:g} s")

    def _wait_ended(self, child: Child) -> None:
        if child.process is None:
            return
        below = family(child.process.pid)
        deadline = time.monotonic() + child.program.stop_seconds
        while child.process.poll() is None:
            if self.interrupts.count > 1 or time.monotonic() > deadline:
                below += family(child.process.pid)
                _end_at_once(child.program, child.process)
            time.sleep(LOOK_SECONDS)
        end_all(below)


def _end_at_once(program: Program, process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(program.kill_signal)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _report(program: Program, how: str) -> str:
    lines = tail(program.log)
    where = f" Its last lines, from {program.log}:\n{lines}" if lines else ""
    return f"{program.name} {how}.{where}"
