"""`python -m worker.evaluation RUN_FOLDER`: answer the test file's rows, in the training's folder.

Runs after training, in the same sandbox, and stops as it does: by the `stop` file or SIGTERM.
"""

import os
import sys

from worker.training.__main__ import TORCH_ENVIRONMENT


def main() -> None:
    command = [sys.executable, "-m", "worker.evaluation.process", *sys.argv[1:]]
    os.execve(sys.executable, command, {**os.environ, **TORCH_ENVIRONMENT})


if __name__ == "__main__":
    main()
