"""`python -m worker.training RUN_DIR`: one attempt at one job, in one folder.

Sets what torch reads while it is loaded, and becomes `worker.training.process`: the same process,
so that signals and exit codes are that one's.
"""

import os
import sys

BEFORE_TORCH = {
    # Threads that wait for each other sleep. Spinning, as is the default, takes from the thread
    # they wait for the core that it needs: with other processes on the machine, a step took a
    # hundred times as long.
    "OMP_WAIT_POLICY": "PASSIVE",
    # cuBLAS otherwise splits sums by what streams happen to run.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}


def main() -> None:
    command = [sys.executable, "-m", "worker.training.process", *sys.argv[1:]]
    os.execve(sys.executable, command, {**os.environ, **BEFORE_TORCH})


if __name__ == "__main__":
    main()
