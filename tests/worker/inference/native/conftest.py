"""Kernels by each set of instructions that is tested."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from worker.inference.native import build
from worker.inference.native.library import Kernels, load_kernels

LoadKernels = Callable[[torch.dtype], Kernels]


@pytest.fixture(params=["the CPU's own", "portable"])
def load(
    request: pytest.FixtureRequest, kernels_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> LoadKernels:
    """Loads kernels for this CPU, and for any of its architecture."""
    if request.param == "portable":
        monkeypatch.setattr(build, "detect_level", lambda: build.BASELINE)

    def load(dtype: torch.dtype) -> Kernels:
        kernels = load_kernels(kernels_folder, dtype)
        assert kernels is not None
        return kernels

    return load
