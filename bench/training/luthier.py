"""Our side of a comparison: one training job, run as a trainer runs it.

    python -m bench.training.luthier TASK_FOLDER OUT_FOLDER SETTINGS

TASK_FOLDER/run is a run folder without results. The training process is that of any job, with its
settings of threads, priority and determinism, in the environment that `worker.training` sets.
SETTINGS are JSON: fields of the run's specification that differ from the default ones.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from bench.training.peers.task import write_result
from worker.run_folder import ExitCode, Metrics, RunFolder


def main() -> None:
    task_folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    folder = RunFolder(out / "run")
    shutil.copytree(task_folder / "run", folder.path)
    folder.write_spec(replace(folder.read_spec(), **json.loads(sys.argv[3])))
    reference = out / "reference_seconds"
    command = [sys.executable, "-m", "bench.training.job_process", str(folder.path), str(reference)]
    code = subprocess.run(command, check=False).returncode
    if code != ExitCode.DONE:
        raise SystemExit(f"the job ended with {code}: {folder.path}")
    steps = [event for event, _ in folder.read_events() if isinstance(event, Metrics)]
    last = folder.checkpoint(folder.list_checkpoint_steps()[0])
    if (last / "adapter_model.safetensors").exists():
        shutil.copytree(last, out / "adapter")
    reference_seconds = float(reference.read_text()) if reference.exists() else 0.0
    accuracy = [e.values["valid_accuracy"] for e in steps if "valid_accuracy" in e.values]
    write_result(
        out,
        seconds=steps[-1].seconds + reference_seconds,
        reference_seconds=reference_seconds,
        losses=[event.values["train_loss"] for event in steps],
        held_out={"accuracy": accuracy[-1]} if accuracy else {},
        versions={name: version(name) for name in ("transformers", "torch")},
    )


if __name__ == "__main__":
    main()
