"""What `luthier up` does around its children: the port, the first key, the embedded database."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from app.local import ports, services
from app.local.database import open_database
from app.local.up import PortTaken, check_port, ensure_admin_key_file, ensure_key_file
from app.settings import Settings
from tests.ports import free_port


@pytest.mark.parametrize(
    ("make", "name", "prefix"),
    [
        (ensure_key_file, "api_key", "sk-luthier-"),
        (ensure_admin_key_file, "admin_key", "sk-admin-"),
    ],
)
def test_a_key_is_made_once_and_for_its_owner_alone(
    settings: Settings, make: Callable[..., None], name: str, prefix: str
) -> None:
    said: list[str] = []
    settings.home.mkdir()
    make(settings, said.append)
    path = settings.home / name
    secret = path.read_text()
    assert secret.startswith(prefix)
    assert path.stat().st_mode & 0o777 == 0o600
    make(settings, said.append)
    assert path.read_text() == secret
    assert len(said) == 1


def test_a_key_of_another_database_is_replaced(settings: Settings) -> None:
    settings.home.mkdir()
    path = settings.home / "api_key"
    path.write_text("sk-luthier-of-a-database-that-is-gone\n")
    ensure_key_file(settings, lambda _: None)
    assert "that-is-gone" not in path.read_text()


def test_a_taken_port_is_named_with_its_holder(settings: Settings) -> None:
    port = free_port()
    listen = (
        f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); "
        "print('listens', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", listen], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"listens\n"
        with pytest.raises(PortTaken, match=rf"{port} is taken by python.* .process {holder.pid}."):
            check_port(settings.model_copy(update={"port": port}))
        assert ports.first_free_port(port) > port
        holder.kill()
    check_port(settings.model_copy(update={"port": port}))


def test_children_see_the_settings_of_their_parent(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in services.environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_the_embedded_database_is_started_for_a_command_and_ended_after_it() -> None:
    # Not below pytest's folder: for root Postgres runs as another user, whom a second pytest locks
    # out when it starts.
    with TemporaryDirectory(prefix="luthier-up-") as folder:
        settings = Settings(home=Path(folder) / "home", database_url=None)
        with open_database(settings) as url:
            assert "host=" in url
            record = (settings.home / "run" / "children.json").read_text()
        assert "postgres" in record
        assert not list((settings.home / "run").glob("*.json"))
        assert not (settings.home / "postgres" / "postmaster.pid").exists()
