"""Requests to the fork server, and the words that both sides exchange.

The supervisor writes one request per line to the server's standard input: first, which models jobs
are likely to need (`PreloadRequest`), which is answered with READY once they are loaded, then one
for each training process (`ForkRequest`). The process that the server forks answers on the server's
standard output with its process id, once it is the supervisor's child and in its sandbox, and waits
for GO. So the supervisor can give up at any time: a process that gets no GO never trains.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

READY = b"ready\n"
GO = b"go\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreloadRequest:
    """Models to load until the first job comes, as JSON, and the folder that may have them."""

    preload: Sequence[dict[str, Any]]
    models: str

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkRequest:
    """Parameters of a training process to start.

    parent            process id of the supervisor
    run_folder        path of the run folder, as the supervisor sees it; the working directory
    argument          the run folder, as the training process sees it
    log               file that standard output and error are appended to
    environment       all variables
    drops_privileges  whether it gives up capabilities, and may never gain any
    uid               user to become, with `groups`; None keeps the user
    models            folder of base models, to be open at the number `models_descriptor`
    """

    parent: int
    run_folder: str
    argument: str
    log: str
    environment: dict[str, str]
    drops_privileges: bool
    uid: int | None = None
    groups: tuple[int, ...] = ()
    models: str | None = None
    models_descriptor: int | None = None

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


def parse_request(line: bytes) -> ForkRequest | PreloadRequest:
    """Parse the line of a request."""
    values: dict[str, Any] = json.loads(line)
    if "preload" in values:
        return PreloadRequest(**values)
    return ForkRequest(**{**values, "groups": tuple(values["groups"])})


def read_line(read: Any) -> bytes:
    """Read a line byte by byte with `read(1)`, and nothing beyond it; b"" at the end."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = read(1)
        if not byte:
            return b""
        line += byte
    return bytes(line)
