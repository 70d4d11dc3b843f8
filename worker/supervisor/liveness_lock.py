"""Liveness of the trainers on one machine: each holds an flock on its own file in the home.

The kernel releases the lock when a process dies, so its neighbours notice at once instead of after
its leases expire. The death of a whole machine is only noticed when its leases expire.
"""

import fcntl
import os
import secrets
from pathlib import Path

PARTIAL_SUFFIX = ".partial"


class LivenessLock:
    """This process's lock, held until the process ends in any way."""

    def __init__(self, home: Path, name: str) -> None:
        self._folder = home / "trainers"
        self._folder.mkdir(parents=True, exist_ok=True)
        # Unlike a process id, a random name is never reused.
        self.name = f"{name}:{secrets.token_hex(4)}"
        partial = self._folder / f"{self.name}{PARTIAL_SUFFIX}"
        # Never closed: only the kernel releases it, when the process ends.
        fcntl.flock(os.open(partial, os.O_CREAT | os.O_WRONLY), fcntl.LOCK_EX)
        # Renamed only now, so that other trainers never see it unlocked.
        partial.rename(self._folder / self.name)

    def find_dead(self) -> list[str]:
        """List the names of trainers that have ended and were not removed yet."""
        paths = sorted(path for path in self._folder.iterdir() if path.suffix != PARTIAL_SUFFIX)
        return [path.name for path in paths if path.name != self.name and _is_unlocked(path)]

    def remove(self, name: str) -> None:
        """Remove the file of a dead trainer after its jobs were reclaimed."""
        (self._folder / name).unlink(missing_ok=True)


def _is_unlocked(path: Path) -> bool:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        # Removed by another trainer just now, or alive.
        return False
    return True
