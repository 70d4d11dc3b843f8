"""Real system errors and the exit codes they map to."""

import errno

import pytest
import torch

from worker.run_folder import ExitCode
from worker.training.errors import classify_error


def cpu_allocator_error() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    return caught.value


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), ExitCode.OUT_OF_DEVICE_MEMORY),
        (RuntimeError("CUDA error: out of memory"), ExitCode.OUT_OF_DEVICE_MEMORY),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
            ExitCode.OUT_OF_DEVICE_MEMORY,
        ),
        (MemoryError(), ExitCode.OUT_OF_DEVICE_MEMORY),
        (cpu_allocator_error(), ExitCode.OUT_OF_DEVICE_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device"), ExitCode.DISK_FULL),
        (OSError(errno.EDQUOT, "Quota exceeded"), ExitCode.DISK_FULL),
    ],
)
def test_known_errors_have_an_exit_code(error: Exception, exit_code: ExitCode) -> None:
    training_error = classify_error(error)
    assert training_error is not None
    assert training_error.exit_code == exit_code


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2"), OSError(errno.EIO, "I/O error")])
def test_unknown_errors_are_crashes(error: Exception) -> None:
    assert classify_error(error) is None
