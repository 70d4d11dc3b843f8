"""Atomic, durable writes of local files (temporary file, fsync, rename), for their owner only."""

import os
import secrets
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700


class AtomicFile:
    """A new file that is invisible until it is published. Always close it."""

    def __init__(self, directory: Path) -> None:
        make_directories(directory)
        self._path = directory / f".{secrets.token_hex(16)}.tmp"
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)

    def write(self, data: bytes) -> int:
        """Write all of `data`. Unbuffered, so that a full disk raises here and not on close."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        return len(data)

    def publish(self, path: Path, *, replace: bool = True) -> None:
        """Move the file to `path`. Without `replace`, raises FileExistsError if `path` exists."""
        # Bytes before the name: after a power failure the name alone would be an empty file.
        os.fsync(self._descriptor)
        make_directories(path.parent)
        if replace:
            self._path.replace(path)
        else:
            os.link(self._path, path)
        fsync_directory(path.parent)

    def close(self) -> None:
        """Discard the file unless it was published."""
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)


def atomic_write(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a temporary file in the same directory and rename it to `path`."""
    with closing(AtomicFile(path.parent)) as file:
        for chunk in chunks:
            file.write(chunk)
        file.publish(path)


def make_directories(path: Path) -> None:
    """Make a directory and its parents, each with mode 0700 and each fsynced into its parent."""
    if path.is_dir():
        return
    make_directories(path.parent)
    path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    fsync_directory(path.parent)


def fsync_directory(path: Path) -> None:
    """Make the names in a directory survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
