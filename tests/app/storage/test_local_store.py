"""Failures specific to the store in a local directory."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from app.storage import LocalStore, StorageUnavailable


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "root")


def test_everything_is_readable_by_its_owner_only(store: LocalStore) -> None:
    store.put("a/b/c", b"")
    with store.writer("a/d") as writer:
        writer.write(b"x")
    modes = {path: path.stat().st_mode & 0o777 for path in [store.root, *store.root.rglob("*")]}
    wrong = {
        path: oct(mode)
        for path, mode in modes.items()
        if mode != (0o700 if path.is_dir() else 0o600)
    }
    assert not wrong


def test_an_impossible_root_raises_storage_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = LocalStore(tmp_path / "file" / "root")
    for step in (store.check, lambda: store.put("a", b"")):
        with pytest.raises(StorageUnavailable, match="storage directory cannot be used"):
            step()


def test_a_recent_unfinished_write_is_kept(store: LocalStore) -> None:
    with store.writer("a") as writer:
        writer.write(b"x")
        assert store.remove_unfinished(timedelta(hours=1)) == 0
    assert store.get("a") == b"x"


# RLIMIT_FSIZE stands for a full disk: the second write fails halfway.
FILL_THE_DISK = """
import resource, sys
from pathlib import Path
from app.storage import LocalStore
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with LocalStore(Path(sys.argv[1])).writer("a") as writer:
    writer.write(b"x" * 999)
    writer.write(b"x" * 999)
"""


def test_a_full_disk_raises_storage_unavailable_and_leaves_nothing(store: LocalStore) -> None:
    command = [sys.executable, "-c", FILL_THE_DISK, str(store.root)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "StorageUnavailable: The storage directory cannot be used" in run.stderr
    assert list(store.list("")) == []
    assert store.remove_unfinished(timedelta(hours=-1)) == 0
