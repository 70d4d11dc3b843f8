"""Files that appear whole or not at all, after a power cut too, and that only we can read."""

import os
import secrets
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700


class AtomicFile:
    """A new file that nobody sees until it is published. Close it in any case."""

    def __init__(self, folder: Path) -> None:
        make_directories(folder)
        self._path = folder / f".{secrets.token_hex(16)}.tmp"
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)

    def write(self, data: bytes) -> int:
        """Write all of `data`. Unbuffered, so that a full disk is told here and not at the end."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        return len(data)

    def publish(self, path: Path, *, replace: bool = True) -> None:
        """Give the file its place. Raises FileExistsError if it is taken and not to be replaced."""
        # The bytes before the name: after a power cut the name alone would stand for an empty file.
        os.fsync(self._descriptor)
        make_directories(path.parent)
        if replace:
            self._path.replace(path)
        else:
            os.link(self._path, path)
        fsync_directory(path.parent)

    def close(self) -> None:
        """Forget the file unless it was published."""
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)


def atomic_write(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file beside its place and move it there."""
    with closing(AtomicFile(path.parent)) as unfinished:
        for chunk in chunks:
            unfinished.write(chunk)
        unfinished.publish(path)


def make_directories(path: Path) -> None:
    """Make a folder and its parents, each for us alone and each synced into its parent."""
    if path.is_dir():
        return
    make_directories(path.parent)
    path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    fsync_directory(path.parent)


def fsync_directory(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
