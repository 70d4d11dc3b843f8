"""Executables and Unix sockets of the embedded Postgres and Valkey, from Python packages.

Both listen on Unix sockets in directories of mode 0700, so neither needs a port or a password. The
packages only provide the executables, which are supervised like all other processes; on a machine
without the packages, set the URLs of external servers.
"""

import os
import tempfile
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

# Socket paths are limited to 104 bytes on macOS and 108 on Linux, including the final NUL.
MAX_SOCKET_PATH_BYTES = 103


class EmbeddedUnavailable(Exception):
    """Embedded Postgres or Valkey is unavailable; the message says what to do instead."""


def find_executable(package: str, pattern: str, *, alternative_setting: str) -> Path:
    """Find an executable in an installed package.

    Raises EmbeddedUnavailable, with the setting that names an external server instead.
    """
    try:
        root = Path(str(distribution(package).locate_file("")))
    except PackageNotFoundError:
        root = None
    executable = None if root is None else next(iter(sorted(root.glob(pattern))), None)
    if executable is None:
        raise EmbeddedUnavailable(
            f"The package {package} is not installed. Install luthier[embedded], "
            f"or set {alternative_setting} to the URL of your own server."
        )
    return executable


def choose_socket_directory(data: Path, socket_name: str, *, owner: int) -> Path:
    """Choose `data`, or a directory with a shorter path if the socket's would be too long there.

    `owner` is a uid. Raises EmbeddedUnavailable if that directory belongs to another user.
    """
    if len(os.fsencode(data / socket_name)) <= MAX_SOCKET_PATH_BYTES:
        return data
    digest = sha256(os.fsencode(data)).hexdigest()[:12]
    directory = Path(tempfile.gettempdir()) / f"luthier-{owner}-{digest}"
    if not directory.exists():
        directory.mkdir(mode=0o700)
        os.chown(directory, owner, -1)
    if directory.is_symlink() or directory.stat().st_uid != owner:
        raise EmbeddedUnavailable(
            f"{directory} belongs to another user; choose a shorter LUTHIER_HOME."
        )
    return directory
