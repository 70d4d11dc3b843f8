"""What only a store in a folder can get wrong."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from app.storage import LocalStore, StorageUnavailable


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "root")


def test_only_the_owner_can_read(store: LocalStore) -> None:
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


def test_a_folder_that_cannot_be_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = LocalStore(tmp_path / "file" / "root")
    for step in (store.check, lambda: store.put("a", b"")):
        with pytest.raises(StorageUnavailable, match="storage folder cannot be used"):
            step()


def test_what_is_young_may_still_be_written(store: LocalStore) -> None:
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


def test_a_full_disk_is_told_and_leaves_nothing(store: LocalStore) -> None:
    command = [sys.executable, "-c", FILL_THE_DISK, str(store.root)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "StorageUnavailable: The storage folder cannot be used" in run.stderr
    assert list(store.list("")) == []
    assert store.remove_unfinished(timedelta(hours=-1)) == 0
