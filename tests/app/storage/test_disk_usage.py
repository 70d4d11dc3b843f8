"""Free space of a disk: bytes, unless it is out of inodes."""

import os
from pathlib import Path

import pytest

from app.operations import disk_space
from app.settings import Settings
from app.storage.disk_usage import measure_free_bytes
from app.storage.local import LocalStore


@pytest.mark.parametrize(
    ("inodes", "free", "is_full"),
    [
        (10**6, 10_000, False),
        (10**6, 9_999, True),
        (10**6, 0, True),
        (65_536, 4_000, False),
        (65_536, 3_000, True),
        (0, 0, False),
    ],
)
def test_a50_a_disk_without_inodes_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inodes: int, free: int, is_full: bool
) -> None:
    status = list(os.statvfs(tmp_path))
    status[5:8] = [inodes, free, free]
    expected = 0 if is_full else status[4] * status[1]
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(status))
    store = LocalStore(tmp_path)
    assert measure_free_bytes(tmp_path) == store.free_bytes() == expected
    problem = disk_space.measure(Settings(home=tmp_path), store).find_problem(1)
    assert (problem is None) is not is_full
    assert problem is None or "can take no more files" in problem
