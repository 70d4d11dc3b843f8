"""File descriptors of a server process: enough for all connections that it accepts."""

import resource

# Files, database and engine connections, pipes.
OTHER_DESCRIPTORS = 1024


def reserve_descriptors(connections: int) -> int:
    """Raise this process's limit for this many connections; return the number that it allows.

    Many systems let a process have 1,024 descriptors unless it asks for more.
    """
    wanted = connections + OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return connections
    return min(connections, max(1, soft - OTHER_DESCRIPTORS))
