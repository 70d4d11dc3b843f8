"""Errors as the system really raises them, and the exit codes they become."""

import errno

import pytest
import torch

from worker.rundir import ExitCode
from worker.training.errors import classify_error


def raised_by_the_allocator() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    return caught.value


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), ExitCode.OUT_OF_DEVICE_MEMORY),
        (MemoryError(), ExitCode.OUT_OF_DEVICE_MEMORY),
        (raised_by_the_allocator(), ExitCode.OUT_OF_DEVICE_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device"), ExitCode.DISK_FULL),
        (OSError(errno.EDQUOT, "Quota exceeded"), ExitCode.DISK_FULL),
    ],
)
def test_known_faults(error: Exception, exit_code: ExitCode) -> None:
    fault = classify_error(error)
    assert fault is not None
    assert fault.exit_code == exit_code


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2"), OSError(errno.EIO, "I/O error")])
def test_everything_else_is_a_crash(error: Exception) -> None:
    assert classify_error(error) is None
