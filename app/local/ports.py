"""Ports of this machine: which are free, and who holds the others."""

import errno
import socket

import psutil

# How far above the wanted port a free one is looked for.
REACH = 200


def obstacle(port: int, host: str = "127.0.0.1") -> str | None:
    """Why a server could not listen there: `is taken by nginx (process 812)`; None if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        # As servers do: connections of a server that has just stopped do not hold its port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"is taken by {holder(port) or 'another program'}"
            return f"cannot be used on {host}: {error.strerror}"
        return None


def free_from(wanted: int) -> int:
    """The first free port at or above `wanted`.

    Not just any free one, as the kernel would give it: those may be taken by an outgoing
    connection in the moment in which the server on it is started again.
    """
    for port in range(wanted, min(wanted + REACH, 65536)):
        if obstacle(port) is None:
            return port
    raise OSError(f"no free port between {wanted} and {wanted + REACH}")


def holder(port: int) -> str | None:
    """Who listens on a port, as far as this user may know: `nginx (process 812)`."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        listens = connection.status == psutil.CONN_LISTEN
        if listens and connection.laddr.port == port and connection.pid:
            return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return None
