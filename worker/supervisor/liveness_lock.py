"""Who of this machine's trainers lives: each holds a lock on a file of its own in the home.

That a machine is gone only its lease can tell, after a minute. That a process died the kernel knows
at once, for it has let go of the lock; whoever shares its home need not wait.
"""

import fcntl
import os
import secrets
from pathlib import Path

PARTIAL_SUFFIX = ".partial"


class LivenessLock:
    """Lasts until the process ends, however it ends."""

    def __init__(self, home: Path, name: str) -> None:
        self._folder = home / "trainers"
        self._folder.mkdir(parents=True, exist_ok=True)
        # Unlike a number of a process, no successor can have it too.
        self.name = f"{name}:{secrets.token_hex(4)}"
        aside = self._folder / f"{self.name}{PARTIAL_SUFFIX}"
        # Never closed: the kernel does that when the process has ended, and not before.
        fcntl.flock(os.open(aside, os.O_CREAT | os.O_WRONLY), fcntl.LOCK_EX)
        # Now that it is locked, others may look at it.
        aside.rename(self._folder / self.name)

    def find_dead(self) -> list[str]:
        """The trainers that have ended and were not yet forgotten."""
        paths = sorted(path for path in self._folder.iterdir() if path.suffix != PARTIAL_SUFFIX)
        return [path.name for path in paths if path.name != self.name and _is_unlocked(path)]

    def remove(self, name: str) -> None:
        """Remove the file of one that has ended and left nothing to be looked after."""
        (self._folder / name).unlink(missing_ok=True)


def _is_unlocked(path: Path) -> bool:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        # Another has just forgotten it; or it lives.
        return False
    return True
