"""A store in a folder. For one machine; several machines share a bucket instead."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from app.storage import atomic_files
from app.storage.object_keys import checked, checked_prefix
from app.storage.protocol import AlreadyExists, BlobWriter, StorageUnavailable

CHUNK = 2**20
# Folder of unfinished files; no key can have a part that starts with a dot.
UNFINISHED = ".unfinished"
# Below this, uploads and checkpoints are about to fail: better to say so before they do.
LEAST_FREE = 64 * 2**20
# A key whose path is a folder, or lies below a file, stands for no object either.
MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class LocalStore:
    """See BlobStore. Keys are paths below `root`; all of it is readable by its owner only."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._unfinished = root / UNFINISHED

    @contextmanager
    def writer(self, key: str) -> Iterator[BlobWriter]:
        path = self._path(key)
        with _translated():
            unfinished = atomic_files.Unfinished(self._unfinished)
        # Only our own steps are translated: what the caller's block raises is the caller's.
        with closing(unfinished):
            yield LocalWriter(unfinished)
            with _translated():
                unfinished.publish(path)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        path = self._path(key)
        with _translated(), closing(atomic_files.Unfinished(self._unfinished)) as unfinished:
            unfinished.write(data)
            try:
                unfinished.publish(path, replace=not if_absent)
            except FileExistsError as error:
                raise AlreadyExists(key) from error

    def get(self, key: str) -> bytes:
        with _translated(key):
            return self._path(key).read_bytes()

    def chunks(self, key: str) -> Iterator[bytes]:
        stream = self._read(key)
        next(stream)
        return stream

    def download(self, key: str, path: Path) -> None:
        atomic_files.write_whole(path, self.chunks(key))

    def upload(self, path: Path, key: str) -> None:
        with path.open("rb") as source, self.writer(key) as target:
            while chunk := source.read(CHUNK):
                target.write(chunk)

    def delete(self, key: str) -> None:
        with _translated(), suppress(*MISSING):
            self._path(key).unlink()

    def list(self, prefix: str) -> Iterator[str]:
        folder = self.root / checked_prefix(prefix).rpartition("/")[0]
        with _translated():
            found = [path.relative_to(self.root).as_posix() for path in _files(folder)]
        return iter(sorted(key for key in found if key.startswith(prefix)))

    def sweep(self, older_than: timedelta) -> int:
        oldest = time.time() - older_than.total_seconds()
        removed = 0
        for path in _files(self._unfinished):
            # Gone in between means that its writer has just finished.
            with _translated(), suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    removed += 1
        return removed

    def check(self) -> None:
        with _translated(), closing(atomic_files.Unfinished(self._unfinished)) as unfinished:
            unfinished.write(b"?")
            if shutil.disk_usage(self.root).free < LEAST_FREE:
                raise StorageUnavailable(f"The disk of {self.root} is full. Free some space on it.")

    def _path(self, key: str) -> Path:
        return self.root / checked(key)

    def _read(self, key: str) -> Iterator[bytes]:
        with _translated(key), self._path(key).open("rb") as file:
            # The first step opens the file: `chunks` takes it to learn of a missing one at once,
            # and a generator that has begun closes its file when it is dropped.
            yield b""
            while chunk := file.read(CHUNK):
                yield chunk


class LocalWriter:
    """See BlobWriter."""

    def __init__(self, unfinished: atomic_files.Unfinished) -> None:
        self._unfinished = unfinished

    def write(self, data: bytes, /) -> int:
        with _translated():
            return self._unfinished.write(data)


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=_unless_gone):
        if UNFINISHED in folders:
            folders.remove(UNFINISHED)
        yield from (Path(parent, name) for name in names)


def _unless_gone(error: OSError) -> None:
    """os.walk hides folders that it cannot read, which would look like a store without them."""
    if not isinstance(error, MISSING):
        raise error


@contextmanager
def _translated(read_key: str | None = None) -> Iterator[None]:
    """Errors of the file system as those of a store; where a key is read it may be missing."""
    try:
        yield
    except OSError as error:
        if read_key is not None and isinstance(error, MISSING):
            raise FileNotFoundError(read_key) from error
        raise StorageUnavailable(f"The storage folder cannot be used: {error}") from error
