"""A training process whose memory is limited to what it has before its first step, and some more.

Run as `python memory_limited_training.py RUN_FOLDER`.
"""

import re
import resource
import sys
from pathlib import Path

from worker.run_folder import ExitCode
from worker.training import process
from worker.training.loop import TrainingLoop

# A step on one row of 900 tokens needs 570 MB with all activations, and 150 MB without.
ADDITIONAL_BYTES = 300_000_000

run_unlimited = TrainingLoop.run


def run_limited(self: "TrainingLoop[object]") -> ExitCode:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kilobytes = re.search(r"VmData:\s+(\d+) kB", status)
    assert kilobytes is not None
    limit = int(kilobytes[1]) * 1024 + ADDITIONAL_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return run_unlimited(self)


if __name__ == "__main__":
    TrainingLoop.run = run_limited  # type: ignore[method-assign]
    process.main(Path(sys.argv[1]))
