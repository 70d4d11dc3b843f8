"""How the tests are shared out to the two processes of `make test`.

A process takes one piece at a time and runs it whole. A piece is a file, so that what a file sets
up is set up once, or a folder whose tests stand on one thing too large to have twice.
"""

from xdist.scheduler import LoadFileScheduling

# Each of them starts all processes of the service, once for all its tests.
WHOLE = ("tests/contract/", "tests/faults/")
# Where the longest pieces are, the longest first: the end waits for whatever is begun last.
FIRST = (*WHOLE, "tests/worker/")


def piece(nodeid: str) -> str:
    """The piece that a test belongs to."""
    file = nodeid.split("::", 1)[0]
    return next((folder for folder in WHOLE if file.startswith(folder)), file)


def turn(nodeid: str) -> int:
    """A number to sort tests by. Those of one number stay in their order."""
    places = (place for place, folder in enumerate(FIRST) if nodeid.startswith(folder))
    return next(places, len(FIRST))


class Pieces(LoadFileScheduling):
    """pytest-xdist's handing out of files, with pieces for files."""

    def _split_scope(self, nodeid: str) -> str:
        return piece(nodeid)
