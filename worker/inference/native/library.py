"""The compiled native kernels of one dtype, loaded into this process."""

import ctypes
from collections.abc import Callable
from ctypes import c_int64, c_void_p
from pathlib import Path

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
        self._library = library
        self._openmp = _find_openmp()
        self.begin = self.declare("begin", c_void_p, c_void_p, c_void_p)
        self.decode = self.declare("decode", c_void_p, c_void_p, c_int64)
        self.prefill = self.declare("prefill", c_void_p, c_void_p, c_int64)
        self.product = self.declare("product", *([c_void_p] * 5), c_int64)

    def declare(self, name: str, *types: type) -> Callable[..., None]:
        """Declare the types of a function's arguments."""
        function = self._library[name]
        function.argtypes = types
        function.restype = None
        declared: Callable[..., None] = function
        return declared

    def has(self, name: str) -> bool:
        """True if this CPU's library has a function that not all have."""
        return hasattr(self._library, name)

    def get_threads(self) -> Threads:
        """Threads of a call: as many as torch has in this thread."""
        return Threads(*self._openmp, torch.get_num_threads())


def _find_openmp() -> tuple[int | None, int | None]:
    """Addresses of `GOMP_parallel` and `omp_get_num_threads` in the OpenMP that torch has loaded.

    Threads of another pool would wait for theirs by spinning on the same cores. None where there
    are no such functions; then one thread computes.
    """
    try:
        process = ctypes.CDLL(None)
        functions = process.GOMP_parallel, process.omp_get_num_threads
    except (AttributeError, OSError):
        return None, None
    parallel, num_threads = (ctypes.cast(each, c_void_p).value for each in functions)
    return parallel, num_threads


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
