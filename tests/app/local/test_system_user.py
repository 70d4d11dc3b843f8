"""Root's installation: Postgres runs as a user of its own, and no folder of others is changed."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from app.local import postgres, system_user
from app.local.embedded import EmbeddedUnavailable
from app.local.home import Home
from app.local.postgres import find_server, prepare_postgres
from app.local.processes import spawn
from app.local.system_user import place_data, place_server
from tests.polling import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as another user")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def user() -> str:
    name = system_user.ensure_system_user()
    assert name is not None
    return name


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that every user can reach; pytest's own are private."""
    folder = Path(mkdtemp(prefix="luthier-shared-"))
    folder.chmod(0o755)
    monkeypatch.setattr(system_user, "SHARED_FOLDER", folder / "luthier")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A folder of root, and one in it, that no other user may pass."""
    folder = tmp_path / "root" / "work"
    folder.mkdir(parents=True)
    for path in (folder.parent, folder):
        path.chmod(0o700)
    return folder


def run_once(home: Path) -> str:
    """Start Postgres on this home, ask it for its data directory, and stop it."""
    spec, url = prepare_postgres(home)
    process = spawn(spec)
    try:
        assert spec.is_ready is not None
        wait_until("Postgres is ready", spec.is_ready)
        psql = find_server().with_name("psql")
        query = ["-tAc", "SELECT current_setting('data_directory')"]
        return subprocess.check_output([psql, url, *query], text=True).strip()
    finally:
        process.send_signal(spec.stop_signal)
        process.wait(60)


def test_a57_private_parents_are_left_alone_and_postgres_runs(shared: Path, private: Path) -> None:
    home = Home(private / "home")
    parents = [private, *private.parents]
    before = [mode(path) for path in parents]
    data = run_once(home.path)
    assert [mode(path) for path in parents] == before
    assert Path(data).parent == shared / "luthier"
    assert mode(Path(data)) == 0o700
    assert (home.path / "postgres").resolve() == Path(data)
    assert run_once(home.path) == data, "the next start finds it again"


def test_a57_a_home_that_the_user_can_reach_keeps_its_data(shared: Path) -> None:
    home = Home(shared / "home")
    assert run_once(home.path) == str(home.path / "postgres")
    assert mode(home.path) == 0o701
    assert not system_user.SHARED_FOLDER.exists()


def test_a57_data_that_became_unreachable_is_explained(
    shared: Path, private: Path, user: str
) -> None:
    (private / "home" / "postgres").mkdir(parents=True)
    with pytest.raises(EmbeddedUnavailable, match=rf"{private.parent}, {private}.*chmod o\+x"):
        place_data(private / "home" / "postgres", user)
    assert mode(private) == 0o700


def test_a57_a_private_package_is_copied_instead_of_opened(
    shared: Path, private: Path, user: str
) -> None:
    package = private / "pginstall18"
    shutil.copytree(find_server().parents[1], package)
    for path in package.rglob("*"):
        path.chmod(mode(path) & 0o700)
    server = place_server(package / "bin" / "postgres", user)
    assert server.is_relative_to(shared)
    assert {mode(private), mode(package / "bin" / "postgres")} == {0o700}
    (version,) = {subprocess.check_output([path, "--version"]) for path in (server, find_server())}
    assert version.startswith(b"postgres (PostgreSQL)")
    assert place_server(package / "bin" / "postgres", user) == server


def test_a57_a_shared_folder_that_others_can_write_to_is_refused(
    shared: Path, private: Path, user: str
) -> None:
    system_user.SHARED_FOLDER.mkdir(mode=0o777)
    system_user.SHARED_FOLDER.chmod(0o777)
    with pytest.raises(EmbeddedUnavailable, match="must belong to root"):
        place_data(private / "home" / "postgres", user)


def test_a57_no_code_opens_the_folders_of_others() -> None:
    text = Path(postgres.__file__).read_text()
    assert "chmod" not in text
