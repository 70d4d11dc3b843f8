"""The training process, run by `python -m worker.training`.

Its exit code is one of `ExitCode`. Any other code is a crash, with a traceback on stderr.
"""

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import worker.light_imports  # noqa: F401  # isort: skip
from app.logs import configure
from worker.run_folder import RunFolder
from worker.training.attempt import run_attempt
from worker.training.environment import configure_process
from worker.training.rank_processes import end_with_code_of, run_ranks
from worker.training.ranks import Ranks


def main(run_folder: Path) -> NoReturn:
    """Make one attempt, and end the process with its exit code."""
    end_with_code_of(lambda: _run(RunFolder(run_folder)))


def _run(folder: RunFolder) -> int:
    configure("info", "training")
    configure_process()
    spec = folder.read_spec()
    if spec.processes == 1:
        return run_attempt(folder)
    ranks = [Ranks(rank, spec.processes, seed=spec.seed) for rank in range(spec.processes)]
    return run_ranks(
        ranks,
        folder.path / "tmp" / "ranks",
        lambda rank: run_attempt(replace(folder, is_writer=rank.is_first), rank),
    )
