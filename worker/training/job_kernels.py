"""The native kernels of a job."""

from pathlib import Path

import torch

from worker.inference.native.build import get_kernels_folder
from worker.inference.native.library import Kernels
from worker.run_folder import RunSpec
from worker.training.native_fused_ops import find_kernels
from worker.training.ranks import Ranks


def choose_kernels_folder(spec: RunSpec) -> Path | None:
    """The folder of kernels, unless the service uses none."""
    return get_kernels_folder(Path(spec.model_cache)) if spec.native_kernels else None


def find_optimizer_kernels(
    spec: RunSpec, dtype: torch.dtype, device: torch.device, ranks: Ranks
) -> Kernels | None:
    """Kernels for an optimizer that reads gradients in `dtype`.

    None for several ranks, which add gradients in the parameters' dtype: in bfloat16 their sum
    would be rounded.
    """
    folder = choose_kernels_folder(spec) if ranks.count == 1 else None
    return find_kernels(folder, dtype, device)
