"""Conformance tests of ObjectStore, run on a directory and on a bucket."""

import os
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest

from app.settings import Settings
from app.storage import AlreadyExists, ObjectStore, UnsafeKey
from app.storage.s3_writer import PART_SIZE

MIB = 2**20
# Older than any object, whatever the clocks of test and server say.
ANY_AGE = timedelta(hours=-1)


def leftovers(store: ObjectStore) -> int:
    """Remove the unfinished writes; return how many there were."""
    return store.remove_unfinished(ANY_AGE)


def write_and_raise(store: ObjectStore, data: bytes, error: Exception, *, key: str = "a/b") -> None:
    with store.writer(key) as writer:
        writer.write(data)
        raise error


class TestPutAndGet:
    def test_get_returns_what_was_put(self, store: ObjectStore) -> None:
        store.put("a/b", b"bytes")
        assert store.get("a/b") == b"bytes"

    def test_an_empty_object_exists(self, store: ObjectStore) -> None:
        store.put("a/b", b"")
        assert store.get("a/b") == b""
        assert list(store.list("a/")) == ["a/b"]

    def test_a_second_put_replaces(self, store: ObjectStore) -> None:
        store.put("a/b", b"a longer first value")
        store.put("a/b", b"second")
        assert store.get("a/b") == b"second"

    def test_a_missing_object_raises_file_not_found(self, store: ObjectStore) -> None:
        store.put("a/b", b"")
        for key in ("nothing", "a/c", "a", "a/b/c"):
            with pytest.raises(FileNotFoundError):
                store.get(key)


class TestPutIfAbsent:
    def test_stores_the_first_object(self, store: ObjectStore) -> None:
        store.put("a/b", b"first", if_absent=True)
        assert store.get("a/b") == b"first"

    def test_rejects_the_second_and_changes_nothing(self, store: ObjectStore) -> None:
        store.put("a/b", b"first")
        with pytest.raises(AlreadyExists):
            store.put("a/b", b"first", if_absent=True)
        assert store.get("a/b") == b"first"
        assert leftovers(store) == 0

    def test_exactly_one_of_several_concurrent_writers_wins(self, store: ObjectStore) -> None:
        values = [f"writer {n}".encode() for n in range(8)]
        start = Barrier(len(values))

        def race(value: bytes) -> bytes | None:
            start.wait()
            try:
                store.put("a/b", value, if_absent=True)
            except AlreadyExists:
                return None
            return value

        with ThreadPoolExecutor(len(values)) as pool:
            winners = [value for value in pool.map(race, values) if value is not None]
        assert winners == [store.get("a/b")]


class TestWriter:
    @pytest.mark.parametrize("size", [0, 1, PART_SIZE - 1, PART_SIZE, PART_SIZE + 1])
    def test_round_trips_any_size(self, store: ObjectStore, size: int) -> None:
        data = os.urandom(size)
        with store.writer("a/b") as writer:
            # An odd step, so that chunks and parts never end together.
            for offset in range(0, size, 999_983):
                piece = data[offset : offset + 999_983]
                assert writer.write(piece) == len(piece)
        assert store.get("a/b") == data
        assert leftovers(store) == 0

    def test_the_object_is_invisible_before_the_block_ends(self, store: ObjectStore) -> None:
        with store.writer("a/b") as writer:
            writer.write(b"x" * (PART_SIZE + 1))
            assert list(store.list("")) == []
        assert list(store.list("")) == ["a/b"]

    @pytest.mark.parametrize("size", [0, 1, PART_SIZE + 1])
    def test_an_exception_leaves_nothing(self, store: ObjectStore, size: int) -> None:
        # An OSError, like a client's broken connection: it must not be taken for the store's own.
        with pytest.raises(ConnectionResetError):
            write_and_raise(store, b"x" * size, ConnectionResetError())
        assert list(store.list("")) == []
        assert leftovers(store) == 0

    def test_an_exception_keeps_the_earlier_object(self, store: ObjectStore) -> None:
        store.put("a/b", b"earlier")
        with pytest.raises(RuntimeError):
            write_and_raise(store, b"half", RuntimeError())
        assert store.get("a/b") == b"earlier"

    def test_a_large_object_needs_little_memory(self, store: ObjectStore) -> None:
        piece, count = b"x" * MIB, 80
        store.put("warm", b"")
        tracemalloc.start()
        try:
            with store.writer("a/b") as writer:
                for _ in range(count):
                    writer.write(piece)
            _, written = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            size = sum(len(chunk) for chunk in store.chunks("a/b"))
            _, read = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert size == count * MIB
        assert written < 3 * PART_SIZE
        assert read < 16 * MIB


class TestChunks:
    def test_chunks_begin_at_a_byte(self, store: ObjectStore) -> None:
        data = bytes(range(256)) * 5_000
        store.put("a/b", data)
        for start in (0, 1, MIB, len(data) - 1):
            assert b"".join(store.chunks("a/b", start=start)) == data[start:]

    def test_chunks_join_to_the_object(self, store: ObjectStore) -> None:
        data = os.urandom(3 * MIB + 1)
        store.put("a/b", data)
        assert b"".join(store.chunks("a/b")) == data

    def test_a_missing_object_raises_at_the_call(self, store: ObjectStore) -> None:
        with pytest.raises(FileNotFoundError):
            store.chunks("a/b")

    def test_an_abandoned_stream_is_closed(self, store: ObjectStore) -> None:
        store.put("a/b", os.urandom(3 * MIB))
        chunks = store.chunks("a/b")
        next(chunks)
        del chunks  # A file or socket left open would be a ResourceWarning, which fails the test.
        store.delete("a/b")


class TestFiles:
    def test_upload_and_download_round_trip(self, store: ObjectStore, tmp_path: Path) -> None:
        source, target = tmp_path / "source", tmp_path / "new" / "target"
        source.write_bytes(os.urandom(2 * MIB + 1))
        store.upload(source, "a/b")
        store.download("a/b", target)
        assert target.read_bytes() == source.read_bytes()
        assert [path.name for path in target.parent.iterdir()] == ["target"]

    def test_downloading_a_missing_object_creates_no_file(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        with pytest.raises(FileNotFoundError):
            store.download("a/b", tmp_path / "new" / "target")
        assert not (tmp_path / "new").exists()

    def test_uploading_a_missing_file_creates_no_object(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        with pytest.raises(FileNotFoundError):
            store.upload(tmp_path / "nothing", "a/b")
        assert list(store.list("")) == []


class TestDelete:
    def test_deletes_the_object(self, store: ObjectStore) -> None:
        store.put("a/b", b"")
        store.delete("a/b")
        with pytest.raises(FileNotFoundError):
            store.get("a/b")

    def test_keeps_other_objects(self, store: ObjectStore) -> None:
        store.put("a/b", b"")
        for key in ("a", "a/b/c", "a/c"):
            store.delete(key)
        assert list(store.list("")) == ["a/b"]


class TestList:
    def test_lists_keys_with_the_prefix_sorted(self, store: ObjectStore) -> None:
        for key in ("a/b/2", "a/b/1", "a/b-c", "a/c", "ab"):
            store.put(key, b"")
        assert list(store.list("a/b")) == ["a/b-c", "a/b/1", "a/b/2"]
        assert list(store.list("a/b/")) == ["a/b/1", "a/b/2"]
        assert list(store.list("")) == ["a/b-c", "a/b/1", "a/b/2", "a/c", "ab"]

    def test_an_empty_store_lists_nothing(self, store: ObjectStore) -> None:
        assert list(store.list("")) == []
        assert list(store.list("a/b/")) == []


class TestUnsafeKeys:
    """Every method validates its key; which keys are unsafe is in test_object_keys."""

    def test_no_method_accepts_an_unsafe_key(self, store: ObjectStore, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for method in (store.get, store.chunks, store.delete):
            with pytest.raises(UnsafeKey):
                method("../a")
        for if_absent in (False, True):
            with pytest.raises(UnsafeKey):
                store.put("../a", b"", if_absent=if_absent)
        with pytest.raises(UnsafeKey):
            store.download("../a", tmp_path / "target")
        with pytest.raises(UnsafeKey):
            store.upload(tmp_path / "file", "../a")
        with pytest.raises(UnsafeKey):
            write_and_raise(store, b"", RuntimeError("the block was entered"), key="../a")

    def test_list_rejects_an_unsafe_prefix(self, store: ObjectStore) -> None:
        with pytest.raises(UnsafeKey):
            list(store.list("../"))


KILLED_WHILE_WRITING = f"""
import os
from app.settings import Settings
from app.storage import open_store
with open_store(Settings()).writer("a/b") as writer:
    writer.write(b"x" * {PART_SIZE + 1})
    os._exit(9)
"""


class TestRemoveUnfinished:
    def test_removes_what_a_killed_writer_left(
        self, store: ObjectStore, store_settings: Settings
    ) -> None:
        killed = subprocess.run(
            [sys.executable, "-c", KILLED_WHILE_WRITING],
            env={**os.environ, **store_settings.to_environment()},
            check=False,
        )
        assert killed.returncode == 9
        assert list(store.list("")) == []
        assert store.remove_unfinished(ANY_AGE) == 1
        assert store.remove_unfinished(ANY_AGE) == 0

    def test_keeps_stored_objects(self, store: ObjectStore) -> None:
        store.put("a/b", b"")
        assert store.remove_unfinished(ANY_AGE) == 0
        assert list(store.list("")) == ["a/b"]


def test_check_passes_on_a_working_store_and_leaves_nothing(store: ObjectStore) -> None:
    store.check()
    assert list(store.list("")) == []
    assert leftovers(store) == 0
