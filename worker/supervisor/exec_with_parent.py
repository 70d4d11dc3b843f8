"""`python -m worker.supervisor.exec_with_parent PARENT [OPTION] COMMAND…`: die with PARENT.

Training takes seconds to load, and a supervisor that is killed meanwhile would leave an orphan.
This module imports almost nothing, asks the kernel to kill it with its parent and then execs
COMMAND; the request survives the exec.

--unprivileged    without capabilities, and without a way to gain privileges
--user UID,GID…   so, and as the user and group UID with these supplementary groups
"""

import os
import sys

from app.parent_death import die_with_parent
from app.process_hardening import drop_privileges


def main(parent: int, command: list[str]) -> None:
    if command[0] == "--unprivileged":
        drop_privileges(None, [])
        command = command[1:]
    elif command[0] == "--user":
        uid, *groups = map(int, command[1].split(","))
        drop_privileges(uid, groups)
        command = command[2:]
    # Last: a change of the user withdraws the request.
    die_with_parent()
    if os.getppid() != parent:
        sys.exit(f"The parent process {parent} has ended already.")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
