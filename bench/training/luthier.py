"""Our side of a comparison: one training job, run as a trainer runs it.

    python -m bench.training.luthier TASK_FOLDER OUT_FOLDER

TASK_FOLDER/run is a run folder without results. The process is that of `worker.training`, with its
settings of threads, priority and determinism; only the time of DPO's reference pass is measured in
addition, since the events of a job begin after it.
"""

import shutil
import sys
import time
from pathlib import Path

import torch
import transformers

from bench.training.peers.task import write_result
from worker.run_folder import ExitCode, Metrics, RunFolder
from worker.training import process
from worker.training.ref_logprobs import RefLogprobsPrecomputer


class ReferenceTimer:
    """Measures how long reference log-probabilities take."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._run = RefLogprobsPrecomputer.run

    def __call__(self, precomputer: RefLogprobsPrecomputer) -> bool:
        started = time.perf_counter()
        is_complete = self._run(precomputer)
        self.seconds = time.perf_counter() - started
        return is_complete


def main() -> None:
    task_folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    folder = RunFolder(out / "run")
    shutil.copytree(task_folder / "run", folder.path)
    timer = ReferenceTimer()
    RefLogprobsPrecomputer.run = lambda self: timer(self)  # type: ignore[method-assign]
    code = process.main(folder.path)
    if code != ExitCode.DONE:
        raise SystemExit(f"the job ended with {code}: {folder.path}")
    steps = [event for event, _ in folder.read_events() if isinstance(event, Metrics)]
    last = folder.checkpoint(folder.list_checkpoint_steps()[0])
    if (last / "adapter_model.safetensors").exists():
        shutil.copytree(last, out / "adapter")
    accuracy = [e.values["valid_accuracy"] for e in steps if "valid_accuracy" in e.values]
    write_result(
        out,
        seconds=steps[-1].seconds + timer.seconds,
        reference_seconds=timer.seconds,
        losses=[event.values["train_loss"] for event in steps],
        **({"held_out": {"accuracy": accuracy[-1]}} if accuracy else {}),
        versions={"transformers": transformers.__version__, "torch": torch.__version__},
    )


if __name__ == "__main__":
    main()
