"""Ports for servers that are told where to listen."""

import itertools
import os

from app.local import ports

# Below those that the kernel gives to outgoing connections: a connection of another test would have
# the port by the time the server listens, or one that waits for the server would meet itself.
FIRST = 20_000
# Each process of pytest-xdist has so many for itself.
SHARE = 3_000
NOBODY = "127.0.0.1:1"
"""Where nothing listens."""

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# Not from the first, which another pytest on this machine has begun with.
_next = itertools.count(FIRST + SHARE * _worker + os.getpid() % 2_000)


def free_port() -> int:
    """A port that is free, and that no other test is given."""
    return next(port for port in _next if ports.obstacle(port) is None)
