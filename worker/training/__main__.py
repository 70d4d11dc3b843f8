"""`python -m worker.training RUN_DIR`: one attempt at one job, in one folder.

Sets what torch reads while it is loaded, and becomes `worker.training.process`: the same process,
so that signals and exit codes are that one's.
"""

import os
import sys

TORCH_ENVIRONMENT = {
    # How long a thread spins while it waits for the others, before it sleeps: tens of microseconds.
    # The default is milliseconds, in which it keeps from its core the very thread that it waits
    # for: beside two busy processes, an encoder's training took ten times as long. Not to spin at
    # all costs an eighth of the speed where nothing else runs.
    "GOMP_SPINCOUNT": "4000",
    # cuBLAS otherwise splits sums by what streams happen to run.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}


def main() -> None:
    command = [sys.executable, "-m", "worker.training.process", *sys.argv[1:]]
    os.execve(sys.executable, command, {**os.environ, **TORCH_ENVIRONMENT})


if __name__ == "__main__":
    main()
