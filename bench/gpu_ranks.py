"""Training by two processes, each on a GPU of its own, or both on the CPU, for `bench.gpu`.

    python -m bench.gpu_ranks SHAPE STEPS RANK STORE      one of them; the first prints its seconds

As in a job, they split each batch by tokens and add up their gradients.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench.gpu_models import BATCH_SIZE, SHAPES, make_rows, make_tunable, synchronize
from bench.training.in_process import make_luthier_arm
from worker.modeling import choose_device, choose_dtype
from worker.training.ranks import Ranks

NUM_RANKS = 2
WARM_UP_STEPS = 2
TIMEOUT_SECONDS = 300


def can_measure() -> bool:
    """True if there is a GPU for each process, or none at all."""
    return not torch.cuda.is_available() or torch.cuda.device_count() >= NUM_RANKS


def measure_ranks(shape: str, *, steps: int) -> dict[str, Any]:
    """Train with both; return the fields of the measurement."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.gpu_ranks", shape, str(steps)]
        processes = [
            subprocess.Popen(
                [*command, str(rank), str(Path(folder) / "store")], stdout=subprocess.PIPE
            )
            for rank in range(NUM_RANKS)
        ]
        try:
            outputs = [each.communicate(timeout=TIMEOUT_SECONDS)[0] for each in processes]
        finally:
            for process in processes:
                process.kill()
    if any(process.returncode for process in processes):
        raise RuntimeError("a process failed; its traceback is above")
    rows = make_rows((steps + WARM_UP_STEPS) * BATCH_SIZE, SHAPES[shape].vocab_size)
    tokens = sum(len(row.ids) for row in rows[WARM_UP_STEPS * BATCH_SIZE :])
    return {
        "arm": f"luthier, {NUM_RANKS} processes",
        "tokens_per_second": round(tokens / float(outputs[0])),
    }


def run_rank(shape: str, steps: int, ranks: Ranks, store: Path) -> float:
    """Train as one of the processes; return the seconds of the timed steps."""
    ranks.join(store)
    dtype = choose_dtype(choose_device())
    arm = make_luthier_arm(make_tunable(SHAPES[shape], dtype), ranks)
    rows = make_rows((steps + WARM_UP_STEPS) * BATCH_SIZE, SHAPES[shape].vocab_size)
    started_at = 0.0
    for step in range(steps + WARM_UP_STEPS):
        if step == WARM_UP_STEPS:
            synchronize()
            ranks.wait()
            started_at = time.perf_counter()
        arm.step(rows[step * BATCH_SIZE : (step + 1) * BATCH_SIZE])
    synchronize()
    ranks.wait()
    return time.perf_counter() - started_at


if __name__ == "__main__":
    name, number, rank, path = sys.argv[1:]
    print(run_rank(name, int(number), Ranks(int(rank), NUM_RANKS), Path(path)))
