"""The protocol of an object store, and the errors it raises."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Protocol


class StorageUnavailable(Exception):
    """The store cannot be used at present; the message is a sentence for the operator."""


class AlreadyExists(Exception):
    """An object with this key exists, and the caller asked not to replace it."""


class ObjectWriter(Protocol):
    """Sink for the bytes of one object, in order."""

    def write(self, data: bytes, /) -> int: ...


class ObjectStore(Protocol):
    """Bytes under keys, nothing else: no directories, no appending, no renaming, no URLs.

    The few methods mean the same in S3 and in a directory. Writes are atomic (an object exists with
    all its bytes or not at all) and durable: what a clean `with` block or a return has stored
    survives a power failure. Keys come from `app.storage.object_keys` only. Safe to share between
    threads, not across a fork.

    Every method may raise StorageUnavailable, and UnsafeKey for a key that those functions would
    not build.
    """

    def writer(self, key: str) -> AbstractContextManager[ObjectWriter]:
        """Stream one object in constant memory; a `with` block that raises stores nothing."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Store `data`. With `if_absent`, raises AlreadyExists if the object exists."""

    def get(self, key: str) -> bytes:
        """Read a small object whole. Raises FileNotFoundError."""

    def chunks(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        """Stream an object, from its byte number `start` on, in chunks of 1 MiB.

        `start` is less than the object's size. Raises FileNotFoundError at once, not on `next`.
        """

    def download(self, key: str, path: Path) -> None:
        """Copy an object to a file, atomically. Raises FileNotFoundError."""

    def upload(self, path: Path, key: str) -> None:
        """Copy a file to an object."""

    def delete(self, key: str) -> None:
        """Delete an object; no error if it does not exist."""

    def list(self, prefix: str) -> Iterator[str]:
        """List keys that start with `prefix`, sorted. For cleanup; the database is the index."""

    def remove_unfinished(self, older_than: timedelta) -> int:
        """Remove unfinished writes of killed processes older than this; returns their number."""

    def free_bytes(self) -> int | None:
        """Free bytes of the disk that the objects are on; None if it is not known, as in S3."""

    def check(self) -> None:
        """Raise StorageUnavailable if the store cannot be used. Fast, for health probes."""
