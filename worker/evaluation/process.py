"""The evaluation process, run by `python -m worker.evaluation`."""

from pathlib import Path

from app.logs import configure
from worker.evaluation.evaluate import evaluate
from worker.model_cache import remember_checksums
from worker.run_folder import RunFolder
from worker.training.environment import (
    StopSignal,
    configure_process,
    make_deterministic,
    set_threads,
)


def main(run_folder: Path) -> int:
    configure("info", "evaluation")
    configure_process()
    folder = RunFolder(run_folder)
    spec = folder.read_spec()
    remember_checksums(spec.checksums)
    set_threads(spec.threads)
    make_deterministic()
    return evaluate(folder, StopSignal(folder))
