"""Upgrade of the embedded database from older major versions of Postgres."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import select, text

from app.backup.create import create_backup
from app.backup.errors import BackupError
from app.backup.folder import BackupFolder
from app.db.migrate import upgrade
from app.db.session import one_off_transaction
from app.db.tables import File, Job, JobState
from app.local import cluster_upgrade, doctor
from app.local.cluster_upgrade import upgrade_cluster
from app.local.database import open_database
from app.local.embedded import EmbeddedUnavailable
from app.local.home import POSTGRES, Home
from app.local.postgres import find_server, read_data_major, read_server_major, upgraded_data
from app.settings import Settings
from app.storage import open_store
from tests.factories import make_job

pytestmark = pytest.mark.upgrade

MAJORS = (15, 16)


@pytest.fixture(params=MAJORS)
def old_server(request: pytest.FixtureRequest) -> Path:
    """A server of an older major version: of the package, or installed on this machine."""
    try:
        return cluster_upgrade.find_old_server(request.param)
    except EmbeddedUnavailable:
        pytest.skip(f"no server of Postgres {request.param} is installed")


@pytest.fixture
def home_settings() -> Iterator[Settings]:
    # Not below pytest's folder: for root, Postgres runs as another user, which a second pytest
    # would lock out when it starts.
    with TemporaryDirectory(prefix="luthier-upgrade-") as folder:
        Path(folder).chmod(0o711)
        yield Settings(home=Path(folder) / "home", database_url=None)


def make_old_data(settings: Settings, server: Path) -> tuple[Path, str]:
    """A data directory of an older major version with a running job; the job's id."""
    home = Home(settings.home)
    data = home.path / POSTGRES
    with cluster_upgrade._run_cluster(home, data, server) as url:
        upgrade(url)
        with one_off_transaction(url) as session:
            job = make_job(session, state=JobState.PAUSED, attempt=3)
    return data, job.id


def test_f45_old_data_is_moved_to_the_installed_version(
    home_settings: Settings, old_server: Path
) -> None:
    data, job_id = make_old_data(home_settings, old_server)
    old_major = read_server_major(old_server)
    message = f"written by Postgres {old_major}.* Run `luthier upgrade`"
    with pytest.raises(EmbeddedUnavailable, match=message), open_database(home_settings):
        pass
    (finding,) = [doctor._check_embedded_database(home_settings)]
    assert not finding.ok
    assert "Run `luthier upgrade`" in finding.sentence
    output: list[str] = []
    upgrade_cluster(home_settings, output.append, old_server=None, backups=None)
    assert read_data_major(data) == read_server_major(find_server())
    assert read_data_major(data.with_name(f"postgres-{old_major}")) == old_major
    with open_database(home_settings) as url, one_off_transaction(url) as session:
        job = session.get_one(Job, job_id)
        assert (job.state, job.attempt) == (JobState.PAUSED, 3)
        assert session.scalars(select(File.id)).all() == [job.training_file_id]
    assert sorted(path.name for path in home_settings.home.glob("postgres*")) == [
        "postgres",
        f"postgres-{old_major}",
    ]
    assert list(home_settings.home.glob("upgrade-*")) == []
    upgrade_cluster(home_settings, output.append, old_server=None, backups=None)
    assert "needs no upgrade" in output[-1]


def test_f45_an_upgrade_that_is_interrupted_loses_nothing(
    home_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = cluster_upgrade.find_old_server(16)
    data, job_id = make_old_data(home_settings, server)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for step in ("restore_rows", "_replace_data"):
        with monkeypatch.context() as patch:
            patch.setattr(cluster_upgrade, step, interrupt)
            with pytest.raises(KeyboardInterrupt):
                upgrade_cluster(home_settings, print, old_server=server, backups=None)
        assert read_data_major(data) == 16
    # As if it had ended between the two renames: no new, empty database may be made.
    data.rename(data.with_name("postgres-16"))
    assert upgraded_data(data).exists()
    with pytest.raises(EmbeddedUnavailable, match="interrupted"), open_database(home_settings):
        pass
    upgrade_cluster(home_settings, lambda _: None, old_server=None, backups=None)
    with open_database(home_settings) as url, one_off_transaction(url) as session:
        assert session.get_one(Job, job_id).attempt == 3


def test_f45_rows_come_from_a_backup_where_no_old_server_is_left(
    home_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, job_id = make_old_data(home_settings, server := cluster_upgrade.find_old_server(16))
    folder = BackupFolder(tmp_path / "backups")
    store = open_store(home_settings)
    with cluster_upgrade._run_cluster(Home(home_settings.home), data, server) as url:
        with one_off_transaction(url) as session:
            session.execute(text("UPDATE files SET deleted_at = now()"))
        create_backup(url, store, folder, lambda _: None)
    monkeypatch.setattr(cluster_upgrade, "_list_candidates", lambda _major: iter(()))
    with pytest.raises(EmbeddedUnavailable, match=r"No server of Postgres 16 .* --from DIR"):
        upgrade_cluster(home_settings, print, old_server=None, backups=None)
    assert "No server of Postgres 16" in doctor._check_embedded_database(home_settings).sentence
    with pytest.raises(BackupError, match="no complete backup"):
        upgrade_cluster(home_settings, print, old_server=None, backups=tmp_path / "nothing")
    assert read_data_major(data) == 16
    upgrade_cluster(home_settings, lambda _: None, old_server=None, backups=folder.path)
    with open_database(home_settings) as url, one_off_transaction(url) as session:
        assert session.get_one(Job, job_id).attempt == 3


def test_f45_too_little_disk_is_said_before(
    home_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = make_old_data(home_settings, cluster_upgrade.find_old_server(16))
    usage = shutil.disk_usage(data)._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    assert "needs" in doctor._check_embedded_database(home_settings).sentence
    with pytest.raises(EmbeddedUnavailable, match="Make room first"):
        upgrade_cluster(home_settings, print, old_server=None, backups=None)
    assert read_data_major(data) == 16
