"""Free ports for servers that tests start."""

import itertools
import os

from app.local import ports

# Below the kernel's ephemeral ports: an outgoing connection could take the port before the server
# listens, or a client that waits for the server could connect to itself.
FIRST_PORT = 20_000
# Number of ports of each process of pytest-xdist.
PORTS_PER_PROCESS = 3_000
UNUSED_ADDRESS = "127.0.0.1:1"
"""An address on which nothing listens."""

_process_number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# Offset by the process id: another pytest may run on this machine.
_candidates = itertools.count(
    FIRST_PORT + PORTS_PER_PROCESS * _process_number + os.getpid() % 2_000
)


def free_port() -> int:
    """A free port that no other test gets."""
    return next(port for port in _candidates if ports.describe_port_conflict(port) is None)
