"""Free space of a disk. One on which no more files can be created has none."""

import os
from pathlib import Path

# A file system has a fixed number of inodes; below this many, or a twentieth of all, it is full.
MIN_FREE_INODES = 10_000


def measure_free_bytes(folder: Path) -> int:
    """Return the bytes that can be written to the disk of a folder; 0 if it is out of inodes."""
    disk = os.statvfs(folder)
    # File systems that have no fixed number, such as Btrfs, report none at all.
    if disk.f_files and disk.f_favail < min(MIN_FREE_INODES, disk.f_files // 20):
        return 0
    return disk.f_bavail * disk.f_frsize
