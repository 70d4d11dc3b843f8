"""File descriptors of a server: raised to what its connections need, as far as allowed."""

import subprocess
import sys

import pytest

PROGRAM = (
    "import resource, sys; from app.http_server.descriptors import reserve_descriptors\n"
    "resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))\n"
    "print(reserve_descriptors(2000), *resource.getrlimit(resource.RLIMIT_NOFILE))"
)


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "raised"),
    [(256, 8000, 2000, 3024), (256, 2024, 1000, 2024), (4000, 8000, 2000, 4000)],
)
def test_the_limit_is_raised_up_to_the_hard_one(
    soft: int, hard: int, connections: int, raised: int
) -> None:
    command = [sys.executable, "-c", PROGRAM, str(soft), str(hard)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.split() == [str(connections), str(raised), str(hard)]
