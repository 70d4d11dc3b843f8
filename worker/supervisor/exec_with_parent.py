"""`python -m worker.supervisor.exec_with_parent PARENT COMMAND…`: exec COMMAND, die with PARENT.

Training takes seconds to load, and a supervisor that is killed meanwhile would leave an orphan.
This module imports almost nothing, asks the kernel to kill it with its parent and then execs; the
request survives the exec.
"""

import os
import sys

from app.parent_death import die_with_parent


def main(parent: int, command: list[str]) -> None:
    die_with_parent()
    if os.getppid() != parent:
        sys.exit(f"The parent process {parent} has ended already.")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
