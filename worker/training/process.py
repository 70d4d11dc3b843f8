"""Entry point of the training process, executed by `python -m worker.training`.

Its exit code is one of `ExitCode`. Any other code is a crash, with a traceback on stderr.
"""

import sys
from pathlib import Path

from app.logs import configure
from worker.run_folder import RunFolder
from worker.training.attempt import run_attempt
from worker.training.environment import configure_process


def main(run_folder: Path) -> int:
    configure("info", "training")
    configure_process()
    return run_attempt(RunFolder(run_folder))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
