"""The native kernels of a job."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worker.run_folder import RunSpec
from worker.training.job_kernels import find_optimizer_kernels
from worker.training.native_fused_ops import find_kernels
from worker.training.ranks import ALONE, Ranks

CPU = torch.device("cpu")


@pytest.fixture
def spec(kernels_folder: Path, tmp_path: Path) -> RunSpec:
    if find_kernels(kernels_folder, torch.bfloat16, CPU) is None:
        pytest.skip("this machine has no C compiler")
    return RunSpec(
        job_id="ftjob-1",
        attempt=1,
        model={},
        model_cache=str(tmp_path),
        method="supervised",
        hyperparameters={},
        seed=0,
        base_model="base",
        threads=1,
    )


def test_one_process_updates_by_native_code(spec: RunSpec) -> None:
    kernels = find_optimizer_kernels(spec, torch.bfloat16, CPU, ALONE)
    assert kernels is not None
    assert kernels.dtype == torch.bfloat16


def test_several_add_gradients_in_the_dtype_of_the_parameters(spec: RunSpec) -> None:
    assert find_optimizer_kernels(spec, torch.bfloat16, CPU, Ranks(count=2)) is None


def test_a_service_without_kernels_has_none(spec: RunSpec) -> None:
    without = replace(spec, native_kernels=False)
    assert find_optimizer_kernels(without, torch.bfloat16, CPU, ALONE) is None
