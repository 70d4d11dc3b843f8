"""Known training failures: each has an exit code, and an error shown to the job's owner."""

import errno

import torch
from safetensors import SafetensorError

from worker.model_cache import ModelUnavailable
from worker.run_folder import ExitCode, Failed

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
# torch raises a plain RuntimeError, recognizable only by its text, for host memory, and for device
# memory that its own allocator did not request: the driver's, cuBLAS's, cuDNN's.
ALLOCATION_FAILURES = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
)


class TrainingError(Exception):
    """Training cannot continue, for a known reason."""

    def __init__(
        self,
        exit_code: ExitCode,
        code: str,
        message: str,
        param: str | None = None,
        *,
        last_good_step: int | None = None,
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.event = Failed(code=code, message=message, param=param, last_good_step=last_good_step)


def user_error(code: str, message: str, param: str | None = None) -> TrainingError:
    """Make an error in the job's data or hyperparameters, for which a retry is pointless."""
    return TrainingError(ExitCode.USER_ERROR, code, message, param)


def classify_error(error: BaseException) -> TrainingError | None:
    """Map an exception to a TrainingError, or None if it is an unknown crash."""
    if isinstance(error, TrainingError):
        return error
    if isinstance(error, ModelUnavailable):
        return user_error("model_unavailable", str(error), "model")
    if is_out_of_memory(error):
        message = "The training process ran out of memory."
        return TrainingError(ExitCode.OUT_OF_DEVICE_MEMORY, "out_of_memory", message)
    if _is_disk_full(error):
        return TrainingError(
            ExitCode.DISK_FULL,
            "disk_full",
            "The disk of the training machine is full. Its operator has to free space.",
        )
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """True if memory of the host or the device ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in ALLOCATION_FAILURES)
    )


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in DISK_FULL_ERRNOS
    # safetensors writes in Rust and reports the operating system's error as text.
    return isinstance(error, SafetensorError) and "os error 28" in str(error)
