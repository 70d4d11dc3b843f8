"""Distribution of the tests to the two processes of `make test`.

A process runs one scope at a time. A scope is a file, so that its fixtures are set up once, or a
folder whose tests share a fixture that is too large to set up twice.
"""

from xdist.scheduler import LoadFileScheduling

# Each of these starts all processes of the service, once for all its tests.
FOLDER_SCOPES = ("tests/contract/", "tests/faults/")
# Folders with the longest scopes, longest first: the run ends when the last scope does.
LONGEST_FIRST = (*FOLDER_SCOPES, "tests/worker/")


def scope_of(nodeid: str) -> str:
    """The scope of a test."""
    file = nodeid.split("::", 1)[0]
    return next((folder for folder in FOLDER_SCOPES if file.startswith(folder)), file)


def sort_key(nodeid: str) -> int:
    """The key to sort tests by, longest scopes first. Equal keys keep their order."""
    positions = (
        position for position, folder in enumerate(LONGEST_FIRST) if nodeid.startswith(folder)
    )
    return next(positions, len(LONGEST_FIRST))


class ScopeScheduling(LoadFileScheduling):
    """pytest-xdist's scheduling by file, by scope instead."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)
