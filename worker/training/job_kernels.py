"""The native kernels of a job."""

from pathlib import Path

import torch

from worker.inference.native.build import get_kernels_folder
from worker.inference.native.library import Kernels
from worker.run_folder import RunSpec
from worker.training.native_fused_ops import find_kernels


def choose_kernels_folder(spec: RunSpec) -> Path | None:
    """The folder of kernels, unless the service uses none."""
    return get_kernels_folder(Path(spec.model_cache)) if spec.native_kernels else None


def find_job_kernels(spec: RunSpec, dtype: torch.dtype, device: torch.device) -> Kernels | None:
    """Find the kernels for a dtype, if the job's device has any."""
    return find_kernels(choose_kernels_folder(spec), dtype, device)
