"""LUTHIER_HOME as one running stack sees it: the lock, the record of what runs, what was left."""

import fcntl
import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from app.local.processes import end_all, family, is_alive

POSTGRES = "postgres"
# Two readings of one process's birth differ by less (the system's boot time is itself a reading).
SAME_BIRTH_SECONDS = 2.0


class HomeUnusable(Exception):
    """LUTHIER_HOME cannot be written to; the message says why."""


class AlreadyRunning(Exception):
    """Another `luthier up` uses this LUTHIER_HOME; the message says which and where."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process by number and birth, which no later process with the same number shares."""

    name: str
    pid: int
    born: float

    @classmethod
    def of(cls, name: str, pid: int) -> "Process | None":
        """The process that now has this number, if there is one."""
        try:
            return cls(name, pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    def find(self) -> psutil.Process | None:
        """The live process, or None if it has ended."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.born) < SAME_BIRTH_SECONDS
        except psutil.NoSuchProcess:
            return None
        return found if same and is_alive(found) else None


@dataclass(frozen=True, slots=True)
class Running:
    """What a running stack tells other commands."""

    stack: Process
    url: str
    database_url: str
    redis_url: str


class Home:
    """Raises HomeUnusable at once if the folder cannot be made or written to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = path / "run" / "lock"
        self._stack = path / "run" / "stack.json"
        self._children = path / "run" / "children.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # It will hold training data and keys.
            path.mkdir(mode=0o700, exist_ok=True)
            self._lock.parent.mkdir(exist_ok=True)
            self._lock.touch()
        except OSError as error:
            raise HomeUnusable(
                f"LUTHIER_HOME ({path}) cannot be written to: {error.filename}: {error.strerror}. "
                "Choose another folder with LUTHIER_HOME."
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process. The kernel lets go of it however the process ends.

        Raises AlreadyRunning.
        """
        with self._lock.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise AlreadyRunning(self._who_runs()) from error
            yield

    def note_stack(self, url: str, database_url: str, redis_url: str) -> None:
        """Tell other commands that this process serves at `url`."""
        me = Process("up", os.getpid(), psutil.Process().create_time())
        _write(self._stack, asdict(Running(me, url, database_url, redis_url)))

    def note_children(self, pids: Mapping[str, int]) -> None:
        """Write down who would be left behind if this process were killed."""
        found = (Process.of(name, pid) for name, pid in pids.items())
        # On a full disk the service goes on without the note; the kernel's leash still holds.
        with suppress(OSError):
            _write(self._children, [asdict(child) for child in found if child is not None])

    def running(self) -> Running | None:
        """The stack that serves from this folder now."""
        values = _read(self._stack)
        if values is None:
            return None
        running = Running(**values | {"stack": Process(**values["stack"])})
        return running if running.stack.find() else None

    def end_leftovers(self) -> list[str]:
        """End what a killed `luthier up` left behind, by number and birth; returns the names.

        Postgres is asked to end in good order and given ten seconds.
        """
        children = [Process(**values) for values in _read(self._children) or []]
        left = [(child.name, process) for child in children if (process := child.find())]
        for name, process in left:
            if name == POSTGRES:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGINT)
                psutil.wait_procs([process], timeout=10)
            end_all([*family(process.pid), process])
        self.forget()
        return [name for name, _ in left]

    def forget(self) -> None:
        """Nothing runs here any more."""
        self._stack.unlink(missing_ok=True)
        self._children.unlink(missing_ok=True)

    def _who_runs(self) -> str:
        running = self.running()
        if running is None:
            return f"Another Luthier command is at work in {self.path}; try again in a moment."
        return (
            f"Luthier already runs on {self.path}, at {running.url} (process {running.stack.pid}). "
            "Stop it with Ctrl-C in its terminal, or give this one its own LUTHIER_HOME and PORT."
        )


def _read(path: Path) -> Any:
    """A record, or None if there is none, or a power cut has left half of one."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _write(path: Path, values: object) -> None:
    """Replace a record whole; a URL in it may hold a password, so it is for the owner alone."""
    aside = path.with_suffix(".tmp")
    write_private(aside, json.dumps(values))
    aside.replace(path)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
