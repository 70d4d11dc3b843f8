"""Executables and Unix sockets of the Postgres and Valkey that come in Python packages.

Both listen on Unix sockets in folders of mode 0700, so neither needs a port or a password. Only the
executables of the packages are used, and supervised like all other processes; a machine without the
packages can be configured with URLs.
"""

import os
import tempfile
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

# Socket paths are limited to 104 bytes on macOS and 108 on Linux, including the final NUL.
MAX_SOCKET_PATH = 103


class EmbeddedUnavailable(Exception):
    """Embedded Postgres or Valkey is unavailable; the message says what to do instead."""


def find_executable(package: str, pattern: str, *, instead: str) -> Path:
    """The executable in an installed package.

    Raises EmbeddedUnavailable, with the setting (`instead`) that names an external server.
    """
    try:
        root = Path(str(distribution(package).locate_file("")))
    except PackageNotFoundError:
        root = None
    found = None if root is None else next(iter(sorted(root.glob(pattern))), None)
    if found is None:
        raise EmbeddedUnavailable(
            f"The package {package} is not installed. "
            f"Install luthier[embedded], or set {instead} to the URL of your own server."
        )
    return found


def choose_socket_folder(data: Path, socket_name: str, *, owner: int) -> Path:
    """`data`, or a folder with a shorter path if the socket's path would be too long there.

    `owner` is a uid. Raises EmbeddedUnavailable if that folder belongs to another user.
    """
    if len(os.fsencode(data / socket_name)) <= MAX_SOCKET_PATH:
        return data
    digest = sha256(os.fsencode(data)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"luthier-{owner}-{digest}"
    if not folder.exists():
        folder.mkdir(mode=0o700)
        os.chown(folder, owner, -1)
    if folder.is_symlink() or folder.stat().st_uid != owner:
        raise EmbeddedUnavailable(
            f"{folder} belongs to another user; choose a shorter LUTHIER_HOME."
        )
    return folder
