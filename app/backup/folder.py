"""Folder of backups: its layout, lock, complete backups, and retention."""

import fcntl
import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from app.backup import manifest
from app.backup.errors import BackupError, CorruptBackup
from app.backup.manifest import FileEntry
from app.storage import atomic_files

OBJECT_INDEX = "objects.jsonl.gz"
CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of a backup: its key in storage, size and checksum."""

    key: str
    bytes: int
    sha256: str


class BackupFolder:
    """A folder of backups, readable by its owner only. Names of backups sort by age."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.objects = self.path / "objects"
        self.backups = self.path / "backups"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder's lock, which ends with the process. Raises BackupError."""
        try:
            for directory in (self.objects, self.backups):
                atomic_files.make_directories(directory)
            lock = open(self.path / "lock", "wb", opener=_open_private)
        except OSError as error:
            raise BackupError(f"{self.path} cannot be written to: {error}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BackupError(f"Another command is using {self.path}.") from error
            yield

    def complete(self) -> list[Path]:
        """List the complete backups, oldest first."""
        return sorted(path.parent for path in self.backups.glob(f"*/{manifest.FILE_NAME}"))

    def find(self, name: str | None) -> Path:
        """Find a complete backup by name, the newest if None. Raises BackupError."""
        complete = self.complete()
        chosen = [path for path in complete if name in (None, path.name)]
        if chosen:
            return chosen[-1]
        if name is not None and complete:
            names = ", ".join(path.name for path in complete)
            raise BackupError(f"{self.path} has no complete backup {name}; it has {names}.")
        raise BackupError(
            f"{self.path} contains no complete backup. A backup that was interrupted has no "
            f"{manifest.FILE_NAME} and cannot be restored; run `luthier backup` again."
        )

    def remove_incomplete(self) -> None:
        """Remove what interrupted backups left, except objects, which the next one uses."""
        complete = set(self.complete())
        for path in self.backups.iterdir():
            if path not in complete:
                shutil.rmtree(path)
        for path in self.objects.glob(".*.tmp"):
            path.unlink()

    def keep_newest(self, count: int) -> list[str]:
        """Remove all but the newest complete backups, and objects that no other one needs.

        Returns the names of the removed backups. Raises CorruptBackup.
        """
        complete = self.complete()
        removed = complete[:-count]
        if not removed:
            return []
        for path in removed:
            # Without its manifest it is no backup, whatever interrupts the rest.
            (path / manifest.FILE_NAME).unlink()
            shutil.rmtree(path)
        needed = {entry.sha256 for path in complete[-count:] for entry in read_objects(path)}
        for path in self.objects.glob("??/*"):
            if path.name not in needed:
                path.unlink()
        return [path.name for path in removed]

    def object_path(self, sha256: str) -> Path:
        return self.objects / sha256[:2] / sha256


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, atomic_files.FILE_MODE)


@contextmanager
def write_compressed(path: Path) -> Iterator[BinaryIO]:
    """Write a new compressed file, durably once the block has ended."""
    atomic_files.make_directories(path.parent)
    with open(path, "xb", opener=_open_private) as raw:
        with gzip.GzipFile(fileobj=raw, filename="", mode="wb", compresslevel=3) as file:
            yield file  # type: ignore[misc]
        raw.flush()
        os.fsync(raw.fileno())
    atomic_files.fsync_directory(path.parent)


def write_objects(folder: Path, objects: list[StoredObject]) -> FileEntry:
    """Write the index of a backup's objects."""
    with write_compressed(folder / OBJECT_INDEX) as file:
        for entry in sorted(objects, key=lambda entry: entry.key):
            file.write(json.dumps(asdict(entry)).encode() + b"\n")
    return describe_file(folder, OBJECT_INDEX)


def read_objects(folder: Path) -> Iterator[StoredObject]:
    """Read the index of a backup's objects. Raises CorruptBackup."""
    try:
        with gzip.open(folder / OBJECT_INDEX, "rb") as file:
            for line in file:
                yield StoredObject(**json.loads(line))
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise CorruptBackup(f"{folder / OBJECT_INDEX} cannot be read: {error}") from error


def describe_file(folder: Path, name: str) -> FileEntry:
    """Size and checksum of a file, for the manifest."""
    size, sha256 = hash_file(folder / name)
    return FileEntry(name, size, sha256)


def hash_file(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def verify_file(path: Path, size: int, sha256: str) -> None:
    """Raise CorruptBackup unless the file has this size and checksum."""
    try:
        found = hash_file(path)
    except OSError as error:
        raise CorruptBackup(f"{path} is missing or cannot be read: {error.strerror}") from error
    if found != (size, sha256):
        raise CorruptBackup(
            f"{path} was changed: it has {found[0]} bytes and the SHA-256 {found[1]}, "
            f"not {size} and {sha256}."
        )
