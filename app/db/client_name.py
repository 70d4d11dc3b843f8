"""Name of a process's connections in pg_stat_activity, by which others see what still runs."""

import os
import re
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
# Postgres cuts names off.
MAX_NAME_LENGTH = 63
NAME = re.compile(r"luthier (?P<revision>\w+) (?P<process>pid \d+ on .*)")


@dataclass(frozen=True, slots=True)
class Client:
    """A process of Luthier: the newest migration of its version, and its pid and host."""

    revision: str
    process: str

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Parse a connection's name; None if it is not that of a process of Luthier."""
        match = NAME.fullmatch(name)
        return None if match is None else cls(**match.groupdict())


def client_name() -> str:
    """Name of this process's connections."""
    process = f"pid {os.getpid()} on {socket.gethostname()}"
    return f"luthier {newest_revision()} {process}"[:MAX_NAME_LENGTH]


@cache
def newest_revision() -> str:
    """Revision of this version's newest migration, as in its file's name."""
    # YYYY_MM_DD_NNNN_slug.py
    revisions = [path.name.split("_")[3] for path in MIGRATIONS.glob("versions/*_*_*_*_*.py")]
    return max(revisions, default="none")
