"""TCP ports of this machine: which are free, and which process listens on the others."""

import errno
import socket
from collections.abc import Collection
from typing import Self

import psutil

# Number of ports tried, the wanted one included.
MAX_PORTS_TRIED = 200


def describe_port_conflict(port: int, host: str = "127.0.0.1") -> str | None:
    """Describe why a port is unusable, `is taken by nginx (process 812)`; None if it is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        # As servers do: otherwise a stopped server's connections in TIME_WAIT would be conflicts.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"is taken by {find_listening_process(port) or 'another program'}"
            return f"cannot be used on {host}: {error.strerror}"
        return None


class PortReservations:
    """Ports for servers of this process, which no other `luthier up` chooses until it ends.

    A port is held by a UDP socket of the same number: one of TCP would be in its server's way.
    """

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for held in self._sockets.values():
            held.close()

    def reserve(self, wanted: int, *, besides: Collection[int] = ()) -> int:
        """Reserve the first free port at or above `wanted`. Raises OSError if 200 are taken.

        Not an ephemeral port chosen by the kernel: an outgoing connection could take it while the
        server restarts.
        """
        for port in range(wanted, min(wanted + MAX_PORTS_TRIED, 65536)):
            if port not in besides and describe_port_conflict(port) is None and self._hold(port):
                return port
        raise OSError(f"no free port between {wanted} and {wanted + MAX_PORTS_TRIED}")

    def _hold(self, port: int) -> bool:
        """Hold a port, unless this process or another one does."""
        holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
            return False
        self._sockets[port] = holder
        return True


def find_listening_process(port: int) -> str | None:
    """Find the process that listens on a port, `nginx (process 812)`; None if it is invisible."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        is_listening = connection.status == psutil.CONN_LISTEN
        if is_listening and connection.laddr.port == port and connection.pid:
            return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return None
