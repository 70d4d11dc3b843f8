"""The native kernels of a job."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worker.run_folder import RunSpec
from worker.training.job_kernels import find_job_kernels
from worker.training.native_fused_ops import find_kernels

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


def test_a_job_has_those_of_its_dtype(spec: RunSpec) -> None:
    kernels = find_job_kernels(spec, torch.bfloat16, CPU)
    assert kernels is not None
    assert kernels.dtype == torch.bfloat16


def test_a_service_without_kernels_has_none(spec: RunSpec) -> None:
    without = replace(spec, native_kernels=False)
    assert find_job_kernels(without, torch.bfloat16, CPU) is None
