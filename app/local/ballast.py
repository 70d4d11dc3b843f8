"""Ballast: disk space beside the embedded Postgres that is given back when the disk is full.

Postgres stops when it cannot write its log, and does not start again on a full disk: then nothing
could be deleted to make room. The reserve for uploads (`app.operations.disk_space`) keeps Luthier
from filling the disk, but other programs, checkpoints and logs may still do so.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# A few segments of Postgres's log (16 MiB each), for recovery, deletions and a checkpoint.
BALLAST_BYTES = 128 * 2**20
# With less than this the ballast is given back.
MIN_FREE_BYTES = 32 * 2**20
# With this many times its size free, it is made again: well apart from giving it back.
REMAKE_FACTOR = 4

Echo = Callable[[str], None]


class Ballast:
    """The file `ballast` in LUTHIER_HOME. Call `keep` regularly: it measures and rarely writes."""

    def __init__(self, home: Path, echo: Echo, *, size: int | None = None) -> None:
        self._path = home / "ballast"
        self._size = BALLAST_BYTES if size is None else size
        self._echo = echo

    def keep(self) -> None:
        """Make the ballast while there is much room, give it back when the disk is full."""
        free = shutil.disk_usage(self._path.parent).free
        exists = self._path.exists()
        if exists and free < min(MIN_FREE_BYTES, self._size):
            self._give_back()
        elif not exists and free >= REMAKE_FACTOR * self._size:
            self._make()

    def _give_back(self) -> None:
        self._path.unlink(missing_ok=True)
        self._echo(
            f"The disk of {self._path.parent} is full. {self._size // 2**20} MiB were set aside "
            "for this and are free now, so that the database can go on: delete files or models, or "
            "enlarge the disk."
        )

    def _make(self) -> None:
        staging = self._path.with_suffix(".new")
        try:
            with staging.open("wb") as file:
                _allocate(file.fileno(), self._size)
            staging.replace(self._path)
        except OSError:
            # Someone else was faster to fill the disk.
            with suppress(OSError):
                staging.unlink(missing_ok=True)


def _allocate(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    # macOS. A sparse file would set nothing aside.
    for _ in range(0, size, 2**20):
        os.write(descriptor, bytes(2**20))
