"""A job's training process that also measures DPO's reference pass, before a job's first event.

python -m bench.training.job_process RUN_FOLDER SECONDS_FILE
"""

import sys
import time
from pathlib import Path
from typing import Any

from worker.training import process
from worker.training.ref_logprobs import RefLogprobsPrecomputer


def main() -> None:
    run = RefLogprobsPrecomputer.run

    def run_timed(precomputer: RefLogprobsPrecomputer[Any]) -> bool:
        started = time.perf_counter()
        is_complete = run(precomputer)
        Path(sys.argv[2]).write_text(str(time.perf_counter() - started))
        return is_complete

    RefLogprobsPrecomputer.run = run_timed  # type: ignore[method-assign]
    process.main(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
