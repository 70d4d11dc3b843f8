"""Copy objects from storage into a folder of backups, and back.

Objects never change under their key, and are named by their checksum in the backup: one that an
earlier backup has copied is not read again.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field

from app.backup.errors import BackupError
from app.backup.folder import CHUNK_BYTES, BackupFolder, StoredObject, verify_file
from app.backup.manifest import DamagedObject
from app.backup.needed_objects import NeededObject, parse_manifest
from app.storage import ObjectStore
from app.storage.atomic_files import AtomicFile

# Copies at a time: small objects in a bucket are limited by latency.
MAX_CONCURRENT_COPIES = 8
MAX_SCHEDULED = 4 * MAX_CONCURRENT_COPIES
PROGRESS_INTERVAL_SECONDS = 5.0

Echo = Callable[[str], None]


@dataclass
class Copied:
    """Result of copying: the objects of the backup, what was damaged, and what was read."""

    objects: list[StoredObject] = field(default_factory=list)
    damaged: list[DamagedObject] = field(default_factory=list)
    new_bytes: int = 0
    new_count: int = 0


class Damaged(Exception):
    """An object is missing from storage or does not have the expected bytes."""


class Progress:
    """Progress messages, and the check that runs between objects, both at an interval."""

    def __init__(self, verb: str, echo: Echo, check: Callable[[], None] = lambda: None) -> None:
        self._verb, self._echo, self._check = verb, echo, check
        self._count, self._bytes = 0, 0
        self._next = time.monotonic() + PROGRESS_INTERVAL_SECONDS

    def add(self, size: int) -> None:
        self._count += 1
        self._bytes += size
        if time.monotonic() >= self._next:
            self._check()
            self._echo(f"{self._verb} {self._count} objects, {self._bytes / 2**20:.0f} MiB …")
            self._next = time.monotonic() + PROGRESS_INTERVAL_SECONDS


def copy_objects(
    store: ObjectStore, folder: BackupFolder, needed: Iterable[NeededObject], progress: Progress
) -> Copied:
    """Copy the needed objects into the folder, with those that their manifests list.

    A missing or damaged object is reported in the result: all others must still be backed up.
    Raises StorageUnavailable.
    """
    copied = Copied()
    pending = list(needed)
    scheduled: dict[Future[tuple[StoredObject, bool]], NeededObject] = {}
    with ThreadPoolExecutor(MAX_CONCURRENT_COPIES, thread_name_prefix="copy") as pool:
        while pending or scheduled:
            while pending and len(scheduled) < MAX_SCHEDULED:
                entry = pending.pop()
                scheduled[pool.submit(_copy_object, store, folder, entry)] = entry
            for future in wait(scheduled, return_when=FIRST_COMPLETED).done:
                pending += _collect(future, scheduled.pop(future), folder, copied, progress)
    return copied


def _collect(
    future: "Future[tuple[StoredObject, bool]]",
    entry: NeededObject,
    folder: BackupFolder,
    copied: Copied,
    progress: Progress,
) -> list[NeededObject]:
    """Record the result of one copy; returns the further objects that a manifest lists."""
    try:
        stored, is_new = future.result()
        copied.objects.append(stored)
        if is_new:
            copied.new_count += 1
            copied.new_bytes += stored.bytes
        progress.add(stored.bytes)
        if entry.is_manifest:
            data = folder.object_path(stored.sha256).read_bytes()
            return list(parse_manifest(entry.key, data))
    except (Damaged, ValueError) as error:
        copied.damaged.append(DamagedObject(entry.key, str(error)))
    return []


def _copy_object(
    store: ObjectStore, folder: BackupFolder, entry: NeededObject
) -> tuple[StoredObject, bool]:
    """Copy one object unless the folder has it. Raises Damaged."""
    if entry.sha256 is not None:
        path = folder.object_path(entry.sha256)
        if path.exists() and entry.bytes in (None, size := path.stat().st_size):
            return StoredObject(entry.key, size, entry.sha256), False
    digest, size = hashlib.sha256(), 0
    with closing(AtomicFile(folder.objects)) as file:
        for chunk in _read_chunks(store, entry.key):
            digest.update(chunk)
            size += file.write(chunk)
        sha256 = digest.hexdigest()
        if entry.sha256 not in (None, sha256) or entry.bytes not in (None, size):
            raise Damaged(
                f"it has {size} bytes and the SHA-256 {sha256}, "
                f"not {entry.bytes if entry.bytes is not None else size} and {entry.sha256}"
            )
        file.publish(folder.object_path(sha256))
    return StoredObject(entry.key, size, sha256), True


def _read_chunks(store: ObjectStore, key: str) -> Iterator[bytes]:
    try:
        yield from store.chunks(key)
    except FileNotFoundError as error:
        raise Damaged("it is missing") from error


def verify_objects(
    folder: BackupFolder, objects: Iterable[StoredObject], progress: Progress
) -> None:
    """Check the bytes of all objects of a backup. Raises CorruptBackup."""

    def verify(entry: StoredObject) -> int:
        verify_file(folder.object_path(entry.sha256), entry.bytes, entry.sha256)
        return entry.bytes

    _for_each(objects, verify, progress)


def restore_objects(
    store: ObjectStore, folder: BackupFolder, objects: Iterable[StoredObject], progress: Progress
) -> None:
    """Write the objects of a backup to storage unless they are there, and read all back.

    Raises BackupError if storage returns other bytes than were written, or StorageUnavailable.
    """

    def restore(entry: StoredObject) -> int:
        # A bucket may have outlived its database.
        if _hash_stored(store, entry.key) == entry.sha256:
            return entry.bytes
        path = folder.object_path(entry.sha256)
        with path.open("rb") as source, store.writer(entry.key) as target:
            while chunk := source.read(CHUNK_BYTES):
                target.write(chunk)
        if _hash_stored(store, entry.key) != entry.sha256:
            raise BackupError(f"Storage returns other bytes for {entry.key} than were written.")
        return entry.bytes

    _for_each(objects, restore, progress)


def _hash_stored(store: ObjectStore, key: str) -> str | None:
    """SHA-256 of an object in storage; None if there is none."""
    digest = hashlib.sha256()
    try:
        for chunk in store.chunks(key):
            digest.update(chunk)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


def _for_each(
    objects: Iterable[StoredObject], work: Callable[[StoredObject], int], progress: Progress
) -> None:
    """Do `work` on each object in several threads; the first error ends all."""
    remaining = iter(objects)
    scheduled: set[Future[int]] = set()
    with ThreadPoolExecutor(MAX_CONCURRENT_COPIES, thread_name_prefix="copy") as pool:
        while True:
            while len(scheduled) < MAX_SCHEDULED and (entry := next(remaining, None)) is not None:
                scheduled.add(pool.submit(work, entry))
            if not scheduled:
                return
            done, scheduled = wait(scheduled, return_when=FIRST_COMPLETED)
            for future in done:
                progress.add(future.result())
