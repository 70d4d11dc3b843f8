"""Security log: who was refused, and who changed keys, projects, secrets and the service.

One JSON object per line, in a file of its own that only grows by what matters: refusals are
counted per address and key, so a flood of them pushes nothing else out. No secret is ever in it.
"""

import fcntl
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import structlog

from app import logs

MAX_FILE_BYTES = 16 * 2**20
# security.log.1 to .8; the oldest is deleted.
MAX_ROTATED = 8
AGGREGATION_SECONDS = 60.0
# Per minute, process and kind of event; more are summed up in one line.
MAX_AGGREGATED_LINES = 100
MAX_AGGREGATED_GROUPS = 10_000
MAX_FIELD_LENGTH = 300

Group = tuple[tuple[str, Any], ...]


class SecurityEvent(StrEnum):
    """Kinds of lines."""

    AUTHENTICATION_FAILED = "authentication.failed"
    ACCESS_DENIED = "access.denied"
    AUTHENTICATION_THROTTLED = "authentication.throttled"
    LIMIT_REACHED = "limit.reached"
    ADMIN_REQUEST = "admin.request"
    SECRET_REQUEST = "secret.request"
    OPERATOR_COMMAND = "operator.command"
    CONSOLE_LOGIN = "console.login"


class SecurityLog:
    """Writer of the security log; None as the path writes to standard error.

    Several processes may write to one file. Never raises: what cannot be written to the file goes
    to standard error.
    """

    def __init__(self, path: Path | None, process: str) -> None:
        self._path = path
        self._process = process
        # Count of each group of equal events that have no line yet.
        self._groups: dict[Group, int] = {}
        # Events beyond MAX_AGGREGATED_GROUPS, and lines of this minute, by kind of event.
        self._ungrouped: Counter[SecurityEvent] = Counter()
        self._lines: Counter[SecurityEvent] = Counter()
        self._summarized_at = time.monotonic()

    def write(self, event: SecurityEvent, **fields: Any) -> None:
        """Write a line, with the id of the request and the client's address if there is one."""
        self._write({**structlog.contextvars.get_contextvars(), "event": event, **fields})

    def count(self, event: SecurityEvent, **fields: str | None) -> None:
        """Write the first of equal events at once, and the number of others each minute."""
        self.summarize_if_due()
        group = (("event", event), *sorted(fields.items()))
        if group in self._groups:
            self._groups[group] += 1
        elif self._lines[event] < MAX_AGGREGATED_LINES:
            self._lines[event] += 1
            self._groups[group] = 0
            self.write(event, **fields, count=1)
        elif len(self._groups) < MAX_AGGREGATED_GROUPS:
            self._groups[group] = 1
        else:
            self._ungrouped[event] += 1

    def summarize_if_due(self) -> None:
        """Write the counts of a minute, once it has passed."""
        if time.monotonic() - self._summarized_at > AGGREGATION_SECONDS:
            self.summarize()

    def summarize(self) -> None:
        """Write the largest counts of each kind of event, and the sums of the others."""
        groups, others = self._groups, self._ungrouped
        self._groups, self._ungrouped, self._lines = {}, Counter(), Counter()
        self._summarized_at = time.monotonic()
        written: Counter[SecurityEvent] = Counter()
        for group, count in sorted(groups.items(), key=lambda item: item[1], reverse=True):
            fields = dict(group)
            event = fields["event"]
            if count and written[event] < MAX_AGGREGATED_LINES:
                written[event] += 1
                self._write({**fields, "count": count})
            else:
                others[event] += count
        for event, count in others.items():
            if count:
                self._write({"event": event, "others": True, "count": count})

    def _write(self, fields: Mapping[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        values = {"timestamp": now, "process": self._process, **fields}
        redacted = {
            name: logs.redact(value[:MAX_FIELD_LENGTH]) if isinstance(value, str) else value
            for name, value in values.items()
        }
        line = orjson.dumps(redacted, default=str) + b"\n"
        if self._path is None or not _append(self._path, line):
            sys.stderr.write(line.decode())
            sys.stderr.flush()


def _append(path: Path, line: bytes) -> bool:
    """Append a line to the file, which is rotated when it is full. False if it was not written."""
    try:
        _make_private_folder(path.parent)
        # One write of a line to an appended file is whole, whatever other processes write.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
    except OSError:
        return False
    if size > MAX_FILE_BYTES:
        # If it fails the line is written nevertheless; the next one tries again.
        with suppress(OSError):
            _rotate(path)
    return True


def _make_private_folder(folder: Path) -> None:
    """Create a folder and its parents, none of them readable by other users."""
    if not folder.exists():
        _make_private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _rotate(path: Path) -> None:
    """Rename the file to FILE.1, FILE.1 to FILE.2 and so on, unless another process does."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_size <= MAX_FILE_BYTES:
            return
        files = [path, *(path.with_name(f"{path.name}.{n}") for n in range(1, MAX_ROTATED + 1))]
        for newer, older in reversed(list(pairwise(files))):
            with suppress(FileNotFoundError):
                newer.replace(older)
    except BlockingIOError:
        return
    finally:
        os.close(folder)
