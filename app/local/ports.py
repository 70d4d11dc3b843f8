"""TCP ports of this machine: which are free, and which process listens on the others."""

import errno
import socket

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


def first_free_port(wanted: int) -> int:
    """Find the first free port at or above `wanted`. Raises OSError if 200 are taken.

    Not an ephemeral port chosen by the kernel: an outgoing connection could take it while the
    server restarts.
    """
    for port in range(wanted, min(wanted + MAX_PORTS_TRIED, 65536)):
        if describe_port_conflict(port) is None:
            return port
    raise OSError(f"no free port between {wanted} and {wanted + MAX_PORTS_TRIED}")


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
