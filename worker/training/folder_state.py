"""State of a model's folder: what changes when one of its files is written or replaced."""

from pathlib import Path

# Name, inode, size and times of each file in a model's folder.
FolderState = tuple[tuple[str, int, int, int, int], ...]


def read_state(folder: Path) -> FolderState:
    """Read the state of the files in a folder, in the order of their names."""
    statuses = ((path.name, path.stat()) for path in sorted(folder.iterdir()))
    return tuple(
        (name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        for name, status in statuses
    )
