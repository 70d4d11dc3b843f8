"""Check before a model is loaded: is there enough memory to hold its weights?"""

import math
from pathlib import Path

import torch
from safetensors import safe_open

from worker.host_memory import HostMemory, format_gigabytes
from worker.run_folder import ExitCode
from worker.training.errors import TrainingError

# Memory of the process itself: Python, torch, and the training file's rows.
PROCESS_BYTES = 500_000_000


def check_memory(
    model_folder: Path,
    dtype: torch.dtype,
    device: torch.device,
    *,
    processes: int = 1,
    memory: HostMemory | None = None,
) -> None:
    """Raise TrainingError if the weights in `dtype` alone exceed the host's memory.

    Each of `processes` has its own. The kernel would kill the process without a word, and again on
    each retry.
    """
    if device.type != "cpu":
        return
    host = memory or HostMemory()
    needed = processes * (count_weights(model_folder) * dtype.itemsize + PROCESS_BYTES)
    total, available = host.total_bytes(), host.available_bytes()
    if total is not None and needed > total:
        raise _too_little_memory(ExitCode.USER_ERROR, needed, f"has {format_gigabytes(total)}")
    if available is not None and needed > available:
        left = f"has only {format_gigabytes(available)} free"
        raise _too_little_memory(ExitCode.OUT_OF_HOST_MEMORY, needed, left)


def count_weights(model_folder: Path) -> int:
    """Count the numbers in a folder's safetensors files, from their headers alone."""
    total = 0
    for path in model_folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as tensors:
            shapes = (tensors.get_slice(name).get_shape() for name in tensors.keys())
            total += sum(map(math.prod, shapes))
    return total


def _too_little_memory(exit_code: ExitCode, needed: int, has: str) -> TrainingError:
    return TrainingError(
        exit_code,
        "out_of_memory",
        f"Training this model needs at least {format_gigabytes(needed)} of memory, and the trainer "
        f"{has}. Use a smaller base model, or a machine with more memory.",
        "model",
    )
