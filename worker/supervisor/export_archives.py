"""Archives of exports: a folder as a tar stream, hashed while it is written.

Tar, since it is written and unpacked in one pass and in constant memory; the weights in it would
not get smaller by compression.
"""

import hashlib
import io
import os
import stat
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from app.storage import ObjectWriter
from worker.run_folder import UnsafeFile

CHUNK_BYTES = 2**20


class HashingWriter(io.RawIOBase):
    """Passes bytes on to `target`, and counts and hashes them. `on_write` may raise to stop."""

    def __init__(self, target: ObjectWriter, on_write: Callable[[], object]) -> None:
        self._target = target
        self._on_write = on_write
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: Any, /) -> int:
        data = bytes(data)
        self._on_write()
        self._target.write(data)
        self._digest.update(data)
        self.size += len(data)
        return len(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def write_archive(folder: Path, name: str, target: HashingWriter) -> None:
    """Write all files below `folder` as a tar archive of one folder, `name`. Raises UnsafeFile."""
    written_at = int(time.time())
    with tarfile.open(fileobj=target, mode="w|", bufsize=CHUNK_BYTES) as archive:
        for path in _list_files(folder):
            # The process that made it could have put a link to another file in its place.
            descriptor = os.open(path, os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise UnsafeFile(f"{path.name!r} is not a regular file")
                entry = tarfile.TarInfo(f"{name}/{path.relative_to(folder).as_posix()}")
                entry.size, entry.mtime = status.st_size, written_at
                archive.addfile(entry, file)


def _list_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names))
