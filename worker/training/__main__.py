"""`python -m worker.training RUN_FOLDER`: one attempt at one job, in one folder.

Sets the environment variables that torch reads on import, then execs `worker.training.process`, or
with `--fork-server` in place of a folder `worker.training.fork_server`: the process id stays the
same, so signals and exit codes pass through.
"""

import os
import sys

TORCH_ENVIRONMENT = {
    # Time that an OpenMP thread spins at a barrier before it sleeps: tens of microseconds. The
    # default is milliseconds, during which it occupies the core of the thread it waits for: with
    # two other busy processes, training an encoder took ten times as long. Not spinning at all
    # costs an eighth of the speed on an idle machine.
    "GOMP_SPINCOUNT": "4000",
    # Required for deterministic cuBLAS: otherwise reductions depend on concurrent streams.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}


def main() -> None:
    module = "fork_server" if sys.argv[1:] == ["--fork-server"] else "process"
    command = [sys.executable, "-m", f"worker.training.{module}", *sys.argv[1:]]
    os.execve(sys.executable, command, {**os.environ, **TORCH_ENVIRONMENT})


if __name__ == "__main__":
    main()
