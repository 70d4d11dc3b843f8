"""What Postgres and Valkey from Python packages share: the program in the package, the socket.

Both listen on Unix sockets in folders of mode 700, so neither needs a port or a password. Only
the programs in the packages are used: as children of ours they are kept running and ended like
all others, and a machine that has neither package can still be given URLs.
"""

import os
import tempfile
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

# A socket's path has 104 bytes on macOS and 108 on Linux, its final zero included.
MAX_SOCKET_PATH = 103


class EmbeddedUnavailable(Exception):
    """Postgres or Valkey cannot be had from a package; the message says what to do instead."""


def binary(package: str, pattern: str, *, instead: str) -> Path:
    """The program in an installed package. Raises EmbeddedUnavailable, naming the URL to set."""
    try:
        root = Path(str(distribution(package).locate_file("")))
    except PackageNotFoundError:
        root = None
    found = None if root is None else next(iter(sorted(root.glob(pattern))), None)
    if found is None:
        raise EmbeddedUnavailable(
            f"The package {package} is not installed. "
            f"Install luthier[embedded], or set {instead} to a server of your own."
        )
    return found


def socket_folder(data: Path, socket_name: str, *, owner: int) -> Path:
    """`data`, or a folder of the same owner with a shorter path if a socket would not fit there.

    Raises EmbeddedUnavailable if that folder is somebody else's.
    """
    if len(os.fsencode(data / socket_name)) <= MAX_SOCKET_PATH:
        return data
    digest = sha256(os.fsencode(data)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"luthier-{owner}-{digest}"
    if not folder.exists():
        folder.mkdir(mode=0o700)
        os.chown(folder, owner, -1)
    if folder.is_symlink() or folder.stat().st_uid != owner:
        raise EmbeddedUnavailable(f"{folder} is somebody else's; choose a shorter LUTHIER_HOME.")
    return folder
