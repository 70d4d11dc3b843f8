"""What a store of bytes can do, and the errors it may raise."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Protocol


class StorageUnavailable(Exception):
    """The store cannot be used just now; the message is a sentence for the operator."""


class AlreadyExists(Exception):
    """Something is stored under this key already, and the caller asked not to replace it."""


class ObjectWriter(Protocol):
    """Where the bytes of one object go, in order."""

    def write(self, data: bytes, /) -> int: ...


class ObjectStore(Protocol):
    """Bytes under keys, nothing else: no folders, no appending, no renaming, no URLs.

    So few verbs because each must mean the same in S3 and in a folder: an object is there with all
    its bytes or not at all, and what a clean `with` block or a return has stored survives a power
    cut. Keys come from `app.storage.object_keys`. Safe to share between threads, not across a fork.

    Every verb may raise StorageUnavailable, and UnsafeKey for a key that those functions
    would not make.
    """

    def writer(self, key: str) -> AbstractContextManager[ObjectWriter]:
        """Stream one object in constant memory; a `with` block that raises stores nothing."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Store `data`. With `if_absent`, raises AlreadyExists where there is something."""

    def get(self, key: str) -> bytes:
        """All bytes of a small object. Raises FileNotFoundError."""

    def chunks(self, key: str) -> Iterator[bytes]:
        """The bytes in pieces of a MiB. Raises FileNotFoundError now, not at the first piece."""

    def download(self, key: str, path: Path) -> None:
        """Copy an object to a file that appears whole or not at all. Raises FileNotFoundError."""

    def upload(self, path: Path, key: str) -> None:
        """Copy a file to an object."""

    def delete(self, key: str) -> None:
        """Remove an object; fine if there is none."""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with `prefix`, sorted. For sweeps: the index is the database."""

    def remove_unfinished(self, older_than: timedelta) -> int:
        """Remove what writers that were killed have left and that age; the number removed."""

    def check(self) -> None:
        """Raises StorageUnavailable if the store cannot be used. Quick: for health probes."""
