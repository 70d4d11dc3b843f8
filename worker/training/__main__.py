"""`python -m worker.training RUN_DIR`: one attempt at one job, in one folder.

Ends with a code of `rundir.Exit`; any other code is a crash, with its traceback on stderr.
"""

import sys
from pathlib import Path

from app.logs import configure, get
from worker.rundir import RunFolder
from worker.training.assembly import assemble
from worker.training.environment import Stop, make_deterministic, settle_in
from worker.training.faults import explain


def main(run_folder: Path) -> int:
    folder = RunFolder(run_folder)
    stop = Stop(folder)
    settle_in()
    configure("info", "training")
    spec = folder.read_spec()
    make_deterministic(spec.threads)
    try:
        return assemble(folder, spec, stop).run()
    except Exception as error:
        fault = explain(error)
        if fault is None:
            raise
        get(__name__).error("training.failed", code=fault.record.code, exc_info=error)
        folder.append(fault.record)
        return fault.exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
