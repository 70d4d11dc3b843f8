"""`python -m worker.supervisor.exec_with_parent PARENT COMMAND…`: runs COMMAND, ends with PARENT.

What trains takes seconds to load, and a supervisor that is killed meanwhile would leave it training
for nobody. This loads nothing, asks the kernel first, and is then replaced: the promise stays.
"""

import ctypes
import os
import platform
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    if platform.system() == "Linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(f"{parent} was gone before the leash was on.")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
