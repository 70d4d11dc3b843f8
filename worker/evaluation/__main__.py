"""`python -m worker.evaluation RUN_FOLDER`: answer the test file's rows, in the training's folder.

Runs after training, in the same sandbox, and stops as it does: by the `stop` file or SIGTERM.
"""

import os
import sys
from pathlib import Path

from app.importing import without_garbage_collection
from worker.training.__main__ import TORCH_ENVIRONMENT


def main() -> int:
    os.environ.update(TORCH_ENVIRONMENT)
    with without_garbage_collection():
        from worker.evaluation import process
    return process.main(Path(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
