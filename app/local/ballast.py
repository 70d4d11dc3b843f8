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

from app.local.home import POSTGRES

# A few segments of Postgres's log (16 MiB each), for recovery, deletions and a checkpoint.
BALLAST_BYTES = 128 * 2**20
# With less than this the ballast is given back.
MIN_FREE_BYTES = 32 * 2**20
# With this many times its size free, it is made again: well apart from giving it back.
REMAKE_FACTOR = 4

Echo = Callable[[str], None]


class Ballast:
    """A file on Postgres's disk. Call `keep` regularly: it measures and rarely writes.

    It is `ballast` in LUTHIER_HOME, or where the data folder is a link to another place (as root's
    may be), a file beside that.
    """

    def __init__(self, home: Path, echo: Echo, *, size: int | None = None) -> None:
        self._home = home
        self._size = BALLAST_BYTES if size is None else size
        self._echo = echo

    def keep(self) -> None:
        """Make the ballast while there is much room, give it back when the disk is full."""
        path = self._find_path()
        free = shutil.disk_usage(path.parent).free
        exists = path.exists()
        if exists and free < min(MIN_FREE_BYTES, self._size):
            self._give_back(path)
        elif not exists and free >= REMAKE_FACTOR * self._size:
            self._make(path)

    def _find_path(self) -> Path:
        own = self._home / "ballast"
        data = self._home / POSTGRES
        if not data.is_symlink():
            return own
        # Made before the data was moved: there it helps nobody.
        own.unlink(missing_ok=True)
        target = data.resolve()
        return target.with_name(f"{target.name}.ballast")

    def _give_back(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._echo(
            f"The disk of {path.parent} is full. {self._size // 2**20} MiB were set aside "
            "for this and are free now, so that the database can go on: delete files or models, or "
            "enlarge the disk."
        )

    def _make(self, path: Path) -> None:
        staging = path.with_suffix(".new")
        try:
            with staging.open("wb") as file:
                _allocate(file.fileno(), self._size)
            staging.replace(path)
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
