"""Object store that checks that it is the right one, by a marker object that the database knows.

A file system that is not mounted leaves an empty folder behind, and a bucket can be named wrongly.
Without the check, objects would seem deleted, and new ones would be written to the wrong place.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from app.storage.protocol import ObjectStore, ObjectWriter, StorageUnavailable

# Outside of `projects/`, where every other object is.
MARKER_KEY = "luthier-storage-id"
MISSING_MARKER = (
    "The storage is not the one that the database belongs to: its marker is missing. Mount it "
    "again, or correct its address; if it is lost, run `luthier storage adopt`."
)
OTHER_MARKER = (
    "The storage is not the one that the database belongs to: it has the marker of another. Mount "
    "the right one, or correct its address; to use this one, run `luthier storage adopt`."
)


class StorageMismatch(StorageUnavailable):
    """The marker is missing or another's; the message contains no paths, so anyone may read it."""


class VerifiedStore:
    """See ObjectStore. Every method raises StorageMismatch while the marker is not the expected.

    `get_marker` returns the expected marker, or None if any will do: then only a missing object is
    doubted. A successful check holds for `interval_seconds`, except before an object is called
    missing.
    """

    def __init__(
        self,
        store: ObjectStore,
        get_marker: Callable[[], str | None],
        *,
        interval_seconds: float,
    ) -> None:
        self._store = store
        self._get_marker = get_marker
        self._interval_seconds = interval_seconds
        self._verified_until = 0.0

    @contextmanager
    def writer(self, key: str) -> Iterator[ObjectWriter]:
        self._verify()
        with self._store.writer(key) as writer:
            yield writer
            # Writing may have taken long. To raise here stores nothing.
            self._verify()

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        self._verify()
        self._store.put(key, data, if_absent=if_absent)

    def get(self, key: str) -> bytes:
        with self._doubt_missing():
            return self._store.get(key)

    def chunks(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        with self._doubt_missing():
            return self._store.chunks(key, start=start)

    def download(self, key: str, path: Path) -> None:
        with self._doubt_missing():
            self._store.download(key, path)

    def upload(self, path: Path, key: str) -> None:
        self._verify()
        self._store.upload(path, key)

    def delete(self, key: str) -> None:
        self._verify()
        self._store.delete(key)

    def list(self, prefix: str) -> Iterator[str]:
        self._verify()
        return (key for key in self._store.list(prefix) if key != MARKER_KEY)

    def remove_unfinished(self, older_than: timedelta) -> int:
        self._verify()
        return self._store.remove_unfinished(older_than)

    def check(self) -> None:
        self._verified_until = 0.0
        self._verify()
        self._store.check()

    def free_bytes(self) -> int | None:
        return self._store.free_bytes()

    @contextmanager
    def _doubt_missing(self) -> Iterator[None]:
        self._verify()
        try:
            yield
        except FileNotFoundError:
            self._verified_until = 0.0
            self._verify(is_doubtful=True)
            raise

    def _verify(self, *, is_doubtful: bool = False) -> None:
        if time.monotonic() < self._verified_until:
            return
        expected = self._get_marker()
        if expected is None and not is_doubtful:
            return
        actual = read_marker(self._store)
        if actual is None:
            raise StorageMismatch(MISSING_MARKER)
        if expected is not None and actual != expected:
            raise StorageMismatch(OTHER_MARKER)
        self._verified_until = time.monotonic() + self._interval_seconds


def read_marker(store: ObjectStore) -> str | None:
    """Read the marker of a store; None if it has none. Raises StorageUnavailable."""
    try:
        return store.get(MARKER_KEY).decode(errors="replace")
    except FileNotFoundError:
        return None
