"""Check before a model is loaded: is there enough memory to hold its weights?"""

from pathlib import Path

import torch

from app.recipes.chat import NF4_BYTES_PER_WEIGHT
from worker.host_memory import HostMemory, format_gigabytes
from worker.model.weight_counts import count_weights
from worker.run_folder import ExitCode
from worker.training.errors import TrainingError

# Memory of the process itself: Python, torch, and the training file's rows.
PROCESS_BYTES = 500_000_000
# Products in int8 hold a weight twice, for both passes, with a scale in float32 for 32. Beside them
# the weights themselves take memory only where they were converted: else they are a file's pages.
INT8_BYTES_PER_WEIGHT = 2 * (1 + 4 / 32)


def check_memory(
    model_folder: Path,
    dtype: torch.dtype,
    device: torch.device,
    *,
    processes: int = 1,
    is_quantized: bool = False,
    multiplies_int8: bool = False,
    is_converted: bool = False,
    on_host: bool = False,
    memory: HostMemory | None = None,
) -> None:
    """Raise TrainingError if the weights alone exceed the host's memory, as they are held.

    In `dtype`, in 4 bits if that `is_quantized`, or in int8 for both passes. `is_converted` says
    that the files have another dtype.

    Each of `processes` has its own. For a device other than the CPU, only those are checked that
    are `on_host` first. The kernel would kill the process without a word, and again on each retry.
    """
    if device.type != "cpu" and not on_host:
        return
    host = memory or HostMemory()
    counts = count_weights(model_folder)
    weights = counts.total * dtype.itemsize
    if is_quantized:
        weights -= int(counts.in_layers * (dtype.itemsize - NF4_BYTES_PER_WEIGHT))
    elif multiplies_int8 and dtype == torch.bfloat16:
        not_read_again = 0 if is_converted else dtype.itemsize
        weights += int(counts.in_layers * (INT8_BYTES_PER_WEIGHT - not_read_again))
    needed = processes * (weights + PROCESS_BYTES)
    total, available = host.total_bytes(), host.available_bytes()
    if total is not None and needed > total:
        raise _too_little_memory(ExitCode.USER_ERROR, needed, f"has {format_gigabytes(total)}")
    if available is not None and needed > available:
        left = f"has only {format_gigabytes(available)} free"
        raise _too_little_memory(ExitCode.OUT_OF_HOST_MEMORY, needed, left)


def _too_little_memory(exit_code: ExitCode, needed: int, has: str) -> TrainingError:
    return TrainingError(
        exit_code,
        "out_of_memory",
        f"Training this model needs at least {format_gigabytes(needed)} of memory, and the trainer "
        f"{has}. Use a smaller base model, or a machine with more memory.",
        "model",
    )
