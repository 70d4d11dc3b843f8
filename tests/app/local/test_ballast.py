"""Ballast: Postgres goes on and starts on a full disk, with the space that was set aside."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from app.db.session import DatabaseUnavailable, one_off_transaction
from app.local import ballast
from app.local.ballast import Ballast
from app.local.database import open_database
from app.settings import Settings
from tests.faults.test_storage import fill_disk, small_disk

MEBIBYTE = 2**20


@pytest.fixture
def disk() -> Iterator[Path]:
    # Not below pytest's folder: for root, Postgres runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="luthier-disk-"))
    folder.chmod(0o755)
    with small_disk(folder, 400):
        yield folder
    shutil.rmtree(folder)


def test_a50_a_database_that_met_a_full_disk_deletes_and_starts_again(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=disk / "home", database_url=None)
    size = 64 * MEBIBYTE
    monkeypatch.setattr(ballast, "BALLAST_BYTES", size)
    with open_database(settings, create=True) as url:
        with one_off_transaction(url) as session:
            session.execute(
                text("CREATE TABLE t AS SELECT repeat('x', 900) FROM generate_series(1, 9000)")
            )
        kept = Ballast(settings.home, lambda _: None, size=size)
        kept.keep()
        assert (settings.home / "ballast").stat().st_size == size
        fill_disk(disk / "filler")
        # Postgres writes its log until the disk has no room for it, and stops.
        with contextlib.suppress(DatabaseUnavailable), one_off_transaction(url) as session:
            session.execute(
                text("INSERT INTO t SELECT repeat('y', 900) FROM generate_series(1, 60000)")
            )
    assert shutil.disk_usage(disk).free < ballast.MIN_FREE_BYTES
    # The next start gives the ballast back by itself.
    with open_database(settings) as url:
        assert not (settings.home / "ballast").exists()
        with one_off_transaction(url) as session:
            session.execute(text("DELETE FROM t"))
        (disk / "filler").unlink()


def test_a50_the_ballast_is_given_back_once_and_made_again(disk: Path) -> None:
    said: list[str] = []
    kept = Ballast(disk, said.append, size=64 * MEBIBYTE)
    kept.keep()
    fill_disk(disk / "filler")
    kept.keep()
    kept.keep()
    (sentence,) = said
    assert "64 MiB were set aside" in sentence
    assert shutil.disk_usage(disk).free >= 63 * MEBIBYTE
    (disk / "filler").unlink()
    kept.keep()
    assert (disk / "ballast").stat().st_blocks * 512 >= 64 * MEBIBYTE, "a sparse file"


def test_a50_the_ballast_is_where_the_data_is(disk: Path, tmp_path: Path) -> None:
    """As for root, where Postgres's user cannot reach the home: the data is on another disk."""
    (tmp_path / "ballast").write_bytes(b"made before the data was moved")
    data = disk / "postgres-1f2e"
    (tmp_path / "postgres").symlink_to(data)
    kept = Ballast(tmp_path, lambda _: None, size=64 * MEBIBYTE)
    kept.keep()
    assert (disk / "postgres-1f2e.ballast").stat().st_size == 64 * MEBIBYTE
    assert not (tmp_path / "ballast").exists()
    fill_disk(disk / "filler")
    kept.keep()
    assert shutil.disk_usage(disk).free >= 63 * MEBIBYTE


def test_a50_a_small_disk_has_no_ballast(disk: Path) -> None:
    Ballast(disk, lambda _: None, size=128 * MEBIBYTE).keep()
    assert list(disk.iterdir()) == []
