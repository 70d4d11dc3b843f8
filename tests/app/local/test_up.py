"""`luthier up`: port check, key files, settings of child processes, embedded database."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from app.catalog import Catalog
from app.local import database_setup, ports, process_specs, up
from app.local.database import open_database
from app.local.database_setup import ensure_admin_key_file, ensure_key_file
from app.local.home import Home
from app.local.processes import ProcessSpec
from app.local.supervisor import SignalCounter
from app.local.up import PortTaken, check_port, list_metrics_urls
from app.settings import Settings
from tests.ports import free_port


@pytest.mark.parametrize(
    ("ensure", "name", "prefix"),
    [
        (ensure_key_file, "api_key", "sk-luthier-"),
        (ensure_admin_key_file, "admin_key", "sk-admin-"),
    ],
)
def test_a_key_file_is_created_once_and_private(
    settings: Settings, ensure: Callable[..., None], name: str, prefix: str
) -> None:
    output: list[str] = []
    settings.home.mkdir()
    ensure(settings, output.append)
    path = settings.home / name
    secret = path.read_text()
    assert secret.startswith(prefix)
    assert path.stat().st_mode & 0o777 == 0o600
    ensure(settings, output.append)
    assert path.read_text() == secret
    assert len(output) == 1


def test_a_key_of_another_database_is_replaced(settings: Settings) -> None:
    settings.home.mkdir()
    path = settings.home / "api_key"
    path.write_text("sk-luthier-of-a-database-that-is-gone\n")
    ensure_key_file(settings, lambda _: None)
    assert "that-is-gone" not in path.read_text()


def test_a_port_in_use_is_reported_with_its_process(settings: Settings) -> None:
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
        with ports.PortReservations() as reserved:
            assert reserved.reserve(port) > port
        holder.kill()
    check_port(settings.model_copy(update={"port": port}))


def test_two_that_start_at_once_choose_different_ports() -> None:
    wanted = free_port()
    choose = (
        "from app.local.ports import PortReservations; import time\n"
        f"with PortReservations() as r: print(r.reserve({wanted}), flush=True); time.sleep(600)"
    )
    with (
        subprocess.Popen([sys.executable, "-c", choose], stdout=subprocess.PIPE) as other,
        ports.PortReservations() as reserved,
    ):
        assert other.stdout is not None
        assert int(other.stdout.readline()) == wanted
        chosen = [reserved.reserve(wanted), reserved.reserve(wanted)]
        other.kill()
        other.wait()
        assert len({wanted, *chosen}) == 3
        assert reserved.reserve(wanted) == wanted, "it ended with the process"
        # The server that it was reserved for can listen.
        assert ports.describe_port_conflict(wanted) is None


def test_the_places_of_metrics_are_known(settings: Settings) -> None:
    engines = {"engine_url": "http://127.0.0.1:8101", "managed_engines": {"m": "http://m:8200"}}
    assert list_metrics_urls(settings.model_copy(update=engines)) == [
        f"http://127.0.0.1:{settings.port}/metrics",
        "http://127.0.0.1:8101/metrics",
        "http://m:8200/metrics",
    ]


def test_child_processes_have_the_parents_settings(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in process_specs.environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_the_embedded_database_runs_only_during_a_command() -> None:
    # Not below pytest's folder: for root, Postgres runs as another user, which a second pytest
    # would lock out when it starts.
    with TemporaryDirectory(prefix="luthier-up-") as folder:
        Path(folder).chmod(0o711)
        settings = Settings(home=Path(folder) / "home", database_url=None)
        # A command may restore a backup of an older version.
        Home(settings.home).record_schema("0001")
        with open_database(settings, create=True) as url:
            assert "host=" in url
            record = (settings.home / "run" / "children.json").read_text()
        assert "postgres" in record
        assert not list((settings.home / "run").glob("*.json"))
        assert not (settings.home / "postgres" / "postmaster.pid").exists()


@dataclass
class Recorder:
    """Stand-in for the supervisor that notes what is started and done, in order."""

    steps: list[str] = field(default_factory=list)

    @property
    def processes(self) -> dict[str, None]:
        return dict.fromkeys(self.steps)

    @property
    def signals(self) -> SignalCounter:
        return SignalCounter()

    def start(self, spec: ProcessSpec) -> None:
        self.steps.append(spec.name)

    def wait_until_ready(self, *_: str, timeout_seconds: float = 0) -> None:
        """Take everything for ready."""


def start_all(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Start a stack whose processes and database are not there; list the steps in order."""
    recorder: Any = Recorder()
    urls = {"database_url": "postgresql://", "redis_url": "redis://"}
    with monkeypatch.context() as patch, ports.PortReservations() as reserved:
        for name in ("ensure_key_file", "ensure_admin_key_file", "create_console_link"):
            patch.setattr(database_setup, name, lambda *_: None)
        patch.setattr(
            database_setup, "migrate", lambda *_, **__: recorder.steps.append("migration")
        )
        patch.setattr(
            up, "_with_embedded_servers", lambda settings, _: settings.model_copy(update=urls)
        )
        catalog = Catalog.load(settings.models_file)
        own = settings.model_copy(update={"database_url": None})
        up.start(own, catalog, Home(settings.home), recorder, reserved, lambda _: None)
    return list(recorder.steps)


def test_the_api_waits_for_the_migration_unless_its_schema_is_recorded(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = ["engine", "migration", "api", "trainer", "io"]
    early = ["engine", "api", "migration", "trainer", "io"]
    assert start_all(settings, monkeypatch) == late
    assert start_all(settings, monkeypatch) == early
    Home(settings.home).record_schema("0001")
    assert start_all(settings, monkeypatch) == late
    assert start_all(settings, monkeypatch) == early
    Home(settings.home).forget_schema()
    assert start_all(settings, monkeypatch) == late
