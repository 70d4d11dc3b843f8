"""The compiled native kernels of one dtype, loaded into this process."""

import ctypes
from collections.abc import Callable
from ctypes import c_int64, c_void_p
from pathlib import Path
from typing import Any

import torch

from app import logs
from worker.inference.native.build import KernelsUnavailable, find_or_build
from worker.inference.native.structs import Threads, compute_layout

log = logs.get_logger(__name__)


class KernelsUnusable(Exception):
    """A compiled library does not match this code."""


class Kernels:
    """A loaded library for one dtype. Raises OSError or KernelsUnusable."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        library = ctypes.CDLL(str(path))
        try:
            library.layout.restype = c_int64
        except AttributeError as error:
            raise KernelsUnusable(f"{path} has no kernels") from error
        if library.layout() != compute_layout(dtype.itemsize):
            raise KernelsUnusable(f"{path} has another layout")
        self.dtype = dtype
        self._parallel = _find_parallel()
        self.begin = _declare(library.begin, c_void_p, c_void_p, c_void_p)
        self.decode = _declare(library.decode, c_void_p, c_void_p, c_int64)
        self.before_attention = _declare(library.before_attention, c_void_p, c_void_p)
        self.after_attention = _declare(library.after_attention, c_void_p, c_void_p)
        self.product = _declare(library.product, *([c_void_p] * 5), c_int64)

    def get_threads(self) -> Threads:
        """Threads of a call: as many as torch has in this thread."""
        return Threads(self._parallel, torch.get_num_threads())


def _declare(function: Any, *types: type) -> Callable[..., None]:
    function.argtypes = types
    function.restype = None
    declared: Callable[..., None] = function
    return declared


def _find_parallel() -> int | None:
    """Address of `GOMP_parallel` in the OpenMP that torch has loaded.

    Threads of another pool would wait for theirs by spinning on the same cores. None where there
    is no such function; then one thread computes.
    """
    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, c_void_p).value
    except (AttributeError, OSError):
        return None


def load_kernels(folder: Path, dtype: torch.dtype) -> Kernels | None:
    """Load the kernels for a dtype, compiling them into `folder` if needed.

    None where that is not possible, which the log says: torch computes the same, more slowly.
    """
    try:
        path = find_or_build(folder, str(dtype).removeprefix("torch."))
        kernels = Kernels(path, dtype)
    except (KernelsUnavailable, KernelsUnusable, OSError) as error:
        log.warning("kernels.unavailable", reason=str(error))
        return None
    log.info("kernels.loaded", library=path.name)
    return kernels
