"""TCP ports of this machine: which are free, and which process listens on the others."""

import errno
import socket

import psutil

# Ports above the wanted one that are tried.
MAX_PORTS_TRIED = 200


def why_unavailable(port: int, host: str = "127.0.0.1") -> str | None:
    """Why a server cannot listen on a port, `is taken by nginx (process 812)`; None if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        # As servers do: without it, connections in TIME_WAIT of a stopped server would count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"is taken by {listening_process(port) or 'another program'}"
            return f"cannot be used on {host}: {error.strerror}"
        return None


def first_free_port(wanted: int) -> int:
    """The first free port at or above `wanted`. Raises OSError if 200 are taken.

    Not an ephemeral port of the kernel's choice: an outgoing connection could take it while the
    server on it restarts.
    """
    for port in range(wanted, min(wanted + MAX_PORTS_TRIED, 65536)):
        if why_unavailable(port) is None:
            return port
    raise OSError(f"no free port between {wanted} and {wanted + MAX_PORTS_TRIED}")


def listening_process(port: int) -> str | None:
    """The process that listens on a port, `nginx (process 812)`; None if it cannot be seen."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        listens = connection.status == psutil.CONN_LISTEN
        if listens and connection.laddr.port == port and connection.pid:
            return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return None
