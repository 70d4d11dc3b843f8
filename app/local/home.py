"""LUTHIER_HOME of a running stack: its lock, records of its processes, cleanup of leftovers."""

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

from app.local.processes import descendants, is_alive, kill_all
from app.settings import Settings

POSTGRES = "postgres"
# Start times of one process read twice differ by less: they are relative to the measured boot time.
START_TIME_TOLERANCE_SECONDS = 2.0


class HomeUnusable(Exception):
    """LUTHIER_HOME cannot be written to; the message says why."""


class NoService(Exception):
    """No service has ever run on this LUTHIER_HOME; the message says how to name another."""


class AlreadyRunning(Exception):
    """Another `luthier up` uses this LUTHIER_HOME; the message says which and where."""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process identified by pid and start time, so that a reused pid is not mistaken for it.

    `started_at` is in seconds since the epoch.
    """

    name: str
    pid: int
    started_at: float

    @classmethod
    def from_pid(cls, name: str, pid: int) -> "ProcessRecord | None":
        """The record of the process that has this pid now; None if there is none."""
        try:
            return cls(name, pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    def find(self) -> psutil.Process | None:
        """The live process, or None if it has exited."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.started_at) < START_TIME_TOLERANCE_SECONDS
        except psutil.NoSuchProcess:
            return None
        return process if is_same and is_alive(process) else None


@dataclass(frozen=True, slots=True)
class RunningStack:
    """Record of a running stack, read by other commands."""

    stack: ProcessRecord
    url: str
    database_url: str
    redis_url: str


class Home:
    """The folder of one installation.

    Raises HomeUnusable if it cannot be created or written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = _lock_of(path)
        self._stack = path / "run" / "stack.json"
        self._processes = path / "run" / "children.json"
        self._schema = path / "run" / "schema.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Private, because it holds training data and keys.
            path.mkdir(mode=0o700, exist_ok=True)
            self._lock.parent.mkdir(exist_ok=True)
            self._lock.touch()
        except OSError as error:
            raise HomeUnusable(
                f"LUTHIER_HOME ({path}) cannot be written to: {error.filename}: {error.strerror}. "
                "Choose another folder with LUTHIER_HOME."
            ) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold an exclusive lock on the folder; the kernel releases it however the process ends.

        Raises AlreadyRunning.
        """
        with self._lock.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise AlreadyRunning(self._already_running_message()) from error
            yield

    def record_stack(self, url: str, database_url: str, redis_url: str) -> None:
        """Record for other commands that this process serves at `url`."""
        this_process = ProcessRecord("up", os.getpid(), psutil.Process().create_time())
        _write_record(self._stack, asdict(RunningStack(this_process, url, database_url, redis_url)))

    def record_processes(self, pids: Mapping[str, int]) -> None:
        """Record the child processes that would be orphaned if this process were killed."""
        records = (ProcessRecord.from_pid(name, pid) for name, pid in pids.items())
        # On a full disk the service continues without the record; PR_SET_PDEATHSIG still works.
        with suppress(OSError):
            _write_record(
                self._processes, [asdict(record) for record in records if record is not None]
            )

    def record_schema(self, revision: str) -> None:
        """Record that the embedded database has this version's schema."""
        _write_record(self._schema, revision)

    def forget_schema(self) -> None:
        """Forget the revision: the database may become another one."""
        self._schema.unlink(missing_ok=True)

    def has_schema(self, revision: str) -> bool:
        """True if the last run has recorded this revision, and no command has opened the database
        since."""
        return bool(_read_record(self._schema) == revision)

    def running_stack(self) -> RunningStack | None:
        """The stack that runs on this folder, if any."""
        try:
            values = _read_record(self._stack) or {}
            running = RunningStack(**values | {"stack": ProcessRecord(**values["stack"])})
        except (KeyError, TypeError):
            # No record, or one of another version, whose stack has ended: it held the lock.
            return None
        return running if running.stack.find() else None

    def kill_leftovers(self) -> list[str]:
        """Kill the recorded processes of a `luthier up` that was killed; returns their names.

        Postgres gets ten seconds for a fast shutdown first.
        """
        records = self._process_records()
        leftovers = [(record.name, process) for record in records if (process := record.find())]
        for name, process in leftovers:
            if name == POSTGRES:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGINT)
                psutil.wait_procs([process], timeout=10)
            kill_all([*descendants(process.pid), process])
        self.clear_records()
        return [name for name, _ in leftovers]

    def _process_records(self) -> list[ProcessRecord]:
        try:
            return [ProcessRecord(**values) for values in _read_record(self._processes) or []]
        except TypeError:  # written by another version
            return []

    def clear_records(self) -> None:
        """Remove the records: nothing runs on this folder."""
        self._stack.unlink(missing_ok=True)
        self._processes.unlink(missing_ok=True)

    def _already_running_message(self) -> str:
        running = self.running_stack()
        if running is None:
            return f"Another Luthier command is using {self.path}; try again in a moment."
        return (
            f"Luthier already runs on {self.path}, at {running.url} (process {running.stack.pid}). "
            "Stop it with Ctrl-C in its terminal, or give this one its own LUTHIER_HOME and PORT."
        )


def key_path(settings: Settings) -> Path:
    return settings.home / "api_key"


def display_path(path: Path) -> str:
    """A path for display: relative to the working directory if it is below it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def check_exists(path: Path) -> None:
    """Raise NoService unless a service, or a command that may create one, has used this folder."""
    if not _lock_of(path).exists():
        raise NoService(
            f"There is no service at {path}. Set LUTHIER_HOME to the folder that it was started "
            "with, or start one there with `luthier up`."
        )


def _lock_of(home: Path) -> Path:
    return home / "run" / "lock"


def _read_record(path: Path) -> Any:
    """A record; None if it is missing, or truncated by a power failure."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _write_record(path: Path, values: object) -> None:
    """Replace a record atomically, readable by its owner only: a URL may contain a password."""
    staging = path.with_suffix(".tmp")
    write_private(staging, json.dumps(values))
    staging.replace(path)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can ever read."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
