"""System user that Postgres runs as where `luthier up` runs as root, which Postgres refuses.

That user may not be able to reach what is in a private folder of root. The permissions of folders
that are not Luthier's are never changed: what the user cannot reach is placed in SHARED_FOLDER.
"""

import hashlib
import os
import pwd
import secrets
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from app.local.embedded import EmbeddedUnavailable
from app.local.processes import as_user

SYSTEM_USER = "luthier"
# Every user can reach it, and only root can write to it.
SHARED_FOLDER = Path("/var/lib/luthier")


def ensure_system_user() -> str | None:
    """Return the user that Postgres runs as: None for an ordinary user, a system user for root.

    Creates the system user if it is missing. Raises EmbeddedUnavailable if that fails.
    """
    if os.geteuid() != 0:
        return None
    if not _has_user(SYSTEM_USER) and shutil.which("useradd") is not None:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER]
        subprocess.run(command, check=False)
    # Check that it exists, not that useradd succeeded: another `luthier up` may have created it.
    if not _has_user(SYSTEM_USER):
        raise EmbeddedUnavailable(
            f"Postgres does not run as root, and the user {SYSTEM_USER!r} cannot be created for "
            "it. Run `luthier up` as an ordinary user, or set DATABASE_URL."
        )
    return SYSTEM_USER


def place_server(server: Path, user: str) -> Path:
    """Return a server executable that the user can run: this one, or a copy of its package.

    Raises EmbeddedUnavailable.
    """
    if _succeeds_as(user, str(server), "--version"):
        return server
    package = server.parents[1]
    with server.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    copy = _shared_folder() / f"{package.name}-{digest}"
    if not copy.exists():
        _copy_readable(package, copy)
    return copy / server.relative_to(package)


def place_data(data: Path, user: str) -> Path:
    """Return a data directory that the user can reach: this one, or one that it becomes a link to.

    Raises EmbeddedUnavailable if there is a data directory that the user cannot reach.
    """
    if data.is_symlink():
        return data.readlink()
    home = data.parent
    if _succeeds_as(user, "test", "-x", str(home.parent)):
        # The home is Luthier's own. It stays unlisted: only names that are known can be reached.
        home.chmod(home.stat().st_mode | stat.S_IXOTH)
        return data
    if data.exists():
        raise EmbeddedUnavailable(_unreachable_message(data, user))
    data.symlink_to(_shared_folder() / f"{data.name}-{secrets.token_hex(4)}")
    return data.readlink()


def _unreachable_message(data: Path, user: str) -> str:
    closed = [p for p in reversed(data.parent.parents) if not p.stat().st_mode & stat.S_IXOTH]
    return (
        f"Postgres does not run as root, and its user {user!r} cannot reach {data}, because of the "
        f"permissions of {', '.join(map(str, closed))}. Let it pass with `chmod o+x`, or move the "
        f"data: mv {data} {SHARED_FOLDER}/postgres && ln -s {SHARED_FOLDER}/postgres {data}"
    )


def _shared_folder() -> Path:
    """Create the folder if it is missing. Raises EmbeddedUnavailable if others can write to it."""
    try:
        SHARED_FOLDER.mkdir(exist_ok=True)
        status = SHARED_FOLDER.stat()
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise EmbeddedUnavailable(f"{SHARED_FOLDER} must belong to root and to no one else.")
        SHARED_FOLDER.chmod(0o755)
    except OSError as error:
        raise EmbeddedUnavailable(
            f"Postgres runs as the user {SYSTEM_USER!r}, and {SHARED_FOLDER} cannot be created for "
            f"it: {error.strerror}. Run `luthier up` as an ordinary user, or set DATABASE_URL."
        ) from error
    return SHARED_FOLDER


def _copy_readable(package: Path, copy: Path) -> None:
    """Copy a folder, readable by all users; other processes see all of it or nothing."""
    with tempfile.TemporaryDirectory(dir=copy.parent) as folder:
        staging = Path(folder) / copy.name
        shutil.copytree(package, staging)
        for path in (staging, *staging.rglob("*")):
            is_executable = path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if is_executable else 0o644)
        if not copy.exists():
            staging.rename(copy)


def _succeeds_as(user: str, *command: str) -> bool:
    """True if a command succeeds when this user runs it."""
    try:
        return (
            subprocess.run(command, capture_output=True, check=False, **as_user(user)).returncode
            == 0
        )
    except OSError:
        return False


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
