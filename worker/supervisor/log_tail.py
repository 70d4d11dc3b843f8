"""Tail of a training process's log, for the job's owner: where it stopped, and no training text.

An allowlist: names and levels of the process's own log lines, and the frames of tracebacks.
Messages of exceptions may quote rows of the training file, and lines of libraries anything; both
are left out, and so are the folders of the machine.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from app import logs

MAX_READ_BYTES = 256 * 1024
MAX_TAIL_CHARS = 12_000
# Fields of a log line; all others may have values of the training file.
FIELDS = ("timestamp", "level", "event")
FRAME = re.compile(r'\s*File "([^"]{1,1000})", line (\d+)(?: in \S+|, in \S+)?')
HEADING = re.compile(r"(Traceback \(most recent call last\):|(Current t|T)hread 0x[0-9a-f]+.*)")
EXCEPTION = re.compile(r"([A-Za-z_][\w.]{0,200}(?:Error|Exception|Interrupt|Exit|Warning))(?::.*)?")


def read_tail(path: Path) -> str:
    """Read the end of a log, at most MAX_TAIL_CHARS long; empty if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MAX_READ_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return _cut("\n".join(_sanitize(text.splitlines())))


def _cut(text: str) -> str:
    redacted = logs.redact(text[-MAX_TAIL_CHARS:])
    return redacted if len(text) <= MAX_TAIL_CHARS else redacted.partition("\n")[2]


def _sanitize(lines: list[str]) -> Iterator[str]:
    omitted = 0
    for line in lines:
        kept = list(_keep(line))
        if not kept:
            omitted += 1
            continue
        if omitted:
            yield f"[{omitted} line(s) of other output]"
        omitted = 0
        yield from kept
    if omitted:
        yield f"[{omitted} line(s) of other output]"


def _keep(line: str) -> Iterator[str]:
    """The part of a line that may be shown, if any."""
    if line.startswith("{"):
        yield from _keep_record(line)
    elif frame := FRAME.fullmatch(line):
        yield line.replace(frame[1], _shorten(frame[1]), 1)
    elif HEADING.fullmatch(line):
        yield line
    elif exception := EXCEPTION.fullmatch(line):
        yield exception[1]


def _keep_record(line: str) -> Iterator[str]:
    try:
        record = json.loads(line)
    except ValueError:
        return
    yield " ".join(str(record[field])[:200] for field in FIELDS if field in record)
    exception = record.get("exception")
    if isinstance(exception, str):
        for inner in exception.splitlines():
            if not inner.startswith("{"):
                yield from _keep(inner)


def _shorten(path: str) -> str:
    """The last parts of a path, without the folders of the machine."""
    return "/".join(Path(path).parts[-3:])
