"""Size and last use of cached folders, which other processes may remove at any time."""

import time
from contextlib import suppress
from pathlib import Path


def folder_bytes(folder: Path) -> int:
    """Bytes of the folder's files; 0 if it no longer exists."""
    with suppress(FileNotFoundError):
        return sum(file.stat().st_size for file in folder.iterdir())
    return 0


def last_used_at(folder: Path) -> float:
    """Unix time of the last use; now, if the folder no longer exists."""
    with suppress(FileNotFoundError):
        return folder.stat().st_mtime
    return time.time()
