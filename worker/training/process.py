"""The process that trains: started by `python -m worker.training`.

Ends with a code of `rundir.Exit`; any other code is a crash, with its traceback on stderr.
"""

import sys
from pathlib import Path

from app.logs import configure
from worker.rundir import RunFolder
from worker.training.attempt import run_attempt
from worker.training.environment import configure_process


def main(run_folder: Path) -> int:
    configure("info", "training")
    configure_process()
    return run_attempt(RunFolder(run_folder))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
