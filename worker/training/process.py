"""Entry point of the training process, executed by `python -m worker.training`.

Its exit code is one of `ExitCode`. Any other code is a crash, with a traceback on stderr.
"""

import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import worker.light_imports  # noqa: F401  # isort: skip
from app.logs import configure
from worker.run_folder import RunFolder
from worker.training.attempt import run_attempt
from worker.training.environment import configure_process


def main(run_folder: Path) -> NoReturn:
    """Make one attempt, and end the process with its exit code."""
    code = 1
    try:
        configure("info", "training")
        configure_process()
        code = run_attempt(RunFolder(run_folder))
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: freeing all modules and the model one by one takes longer than a second.
    os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
