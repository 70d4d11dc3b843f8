"""`python -m worker.training RUN_FOLDER`: one attempt at one job, in one folder.

Sets the environment variables that torch reads on import, then runs `worker.training.process`, or
with `--fork-server` in place of a folder `worker.training.fork_server`.
"""

import os
import sys
from pathlib import Path

from app.importing import without_garbage_collection

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
    os.environ.update(TORCH_ENVIRONMENT)
    if sys.argv[1:] == ["--fork-server"]:
        with without_garbage_collection():
            from worker.training import fork_server
        fork_server.main()
    else:
        with without_garbage_collection():
            from worker.training import process
        process.main(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
