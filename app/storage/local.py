"""Object store in a local directory. For one machine; several machines share a bucket."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from app.storage import atomic_files
from app.storage.disk_usage import measure_free_bytes
from app.storage.object_keys import validate_key, validate_prefix
from app.storage.protocol import AlreadyExists, ObjectWriter, StorageUnavailable

CHUNK_BYTES = 2**20
# Directory of unfinished files; no part of a key can start with a dot.
UNFINISHED_DIRECTORY = ".unfinished"
# Below this, `check` fails, before uploads and checkpoints do.
MIN_FREE_BYTES = 64 * 2**20
# A key whose path is a directory, or lies below a file, is not an object either.
MISSING_ERRORS = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class LocalStore:
    """See ObjectStore. Keys are paths below `root`, all readable by their owner only."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._unfinished = root / UNFINISHED_DIRECTORY

    @contextmanager
    def writer(self, key: str) -> Iterator[ObjectWriter]:
        path = self._path(key)
        with _translate_errors():
            unfinished = atomic_files.AtomicFile(self._unfinished)
        # Only our own steps: what the caller's block raises must reach the caller unchanged.
        with closing(unfinished):
            yield LocalWriter(unfinished)
            with _translate_errors():
                unfinished.publish(path)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        path = self._path(key)
        with _translate_errors(), closing(atomic_files.AtomicFile(self._unfinished)) as unfinished:
            unfinished.write(data)
            try:
                unfinished.publish(path, replace=not if_absent)
            except FileExistsError as error:
                raise AlreadyExists(key) from error

    def get(self, key: str) -> bytes:
        with _translate_errors(key):
            return self._path(key).read_bytes()

    def chunks(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        stream = self._stream(key, start)
        next(stream)
        return stream

    def download(self, key: str, path: Path) -> None:
        atomic_files.atomic_write(path, self.chunks(key))

    def upload(self, path: Path, key: str) -> None:
        with path.open("rb") as source, self.writer(key) as target:
            while chunk := source.read(CHUNK_BYTES):
                target.write(chunk)

    def delete(self, key: str) -> None:
        with _translate_errors(), suppress(*MISSING_ERRORS):
            self._path(key).unlink()

    def list(self, prefix: str) -> Iterator[str]:
        directory = self.root / validate_prefix(prefix).rpartition("/")[0]
        with _translate_errors():
            keys = [path.relative_to(self.root).as_posix() for path in _walk_files(directory)]
        return iter(sorted(key for key in keys if key.startswith(prefix)))

    def remove_unfinished(self, older_than: timedelta) -> int:
        oldest = time.time() - older_than.total_seconds()
        removed = 0
        for path in _walk_files(self._unfinished):
            # A file that vanishes in between has just been published.
            with _translate_errors(), suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    removed += 1
        return removed

    def free_bytes(self) -> int | None:
        with _translate_errors():
            return measure_free_bytes(self._existing_folder())

    def check(self) -> None:
        with _translate_errors(), closing(atomic_files.AtomicFile(self._unfinished)) as unfinished:
            unfinished.write(b"?")
            if shutil.disk_usage(self.root).free < MIN_FREE_BYTES:
                raise StorageUnavailable(f"The disk of {self.root} is full. Free some space on it.")

    def _existing_folder(self) -> Path:
        """The root, or before the first write the folder that it will be made in."""
        return next(path for path in (self.root, *self.root.parents) if path.exists())

    def _path(self, key: str) -> Path:
        return self.root / validate_key(key)

    def _stream(self, key: str, start: int) -> Iterator[bytes]:
        with _translate_errors(key), self._path(key).open("rb") as file:
            file.seek(start)
            # An empty first chunk opens the file: `chunks` takes it to notice a missing file at
            # once, and a started generator closes its file when it is dropped.
            yield b""
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


class LocalWriter:
    """See ObjectWriter."""

    def __init__(self, unfinished: atomic_files.AtomicFile) -> None:
        self._unfinished = unfinished

    def write(self, data: bytes, /) -> int:
        with _translate_errors():
            return self._unfinished.write(data)


def _walk_files(directory: Path) -> Iterator[Path]:
    for parent, directories, names in os.walk(directory, onerror=_raise_unless_missing):
        if UNFINISHED_DIRECTORY in directories:
            directories.remove(UNFINISHED_DIRECTORY)
        yield from (Path(parent, name) for name in names)


def _raise_unless_missing(error: OSError) -> None:
    """Pass on errors that os.walk would hide, so that unreadable directories do not look empty."""
    if not isinstance(error, MISSING_ERRORS):
        raise error


@contextmanager
def _translate_errors(read_key: str | None = None) -> Iterator[None]:
    """Raise OSErrors as StorageUnavailable.

    A missing file becomes FileNotFoundError where `read_key` names the key that is read.
    """
    try:
        yield
    except OSError as error:
        if read_key is not None and isinstance(error, MISSING_ERRORS):
            raise FileNotFoundError(read_key) from error
        raise StorageUnavailable(f"The storage directory cannot be used: {error}") from error
