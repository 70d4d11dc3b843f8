"""The native kernels, compiled once for all tests and kept for the next run.

The names of libraries change with their source, the compiler's options and the CPU.
"""

import fcntl
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from worker.inference.native import build

FOLDER = Path(__file__).resolve().parents[1] / ".cache" / "native-kernels"


def compile_kernels() -> Path:
    """Compile what is missing, in one process at a time, and return the folder.

    It stays empty without a compiler: then torch computes, as on such a machine.
    """
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock, ThreadPoolExecutor() as threads:
        fcntl.flock(lock, fcntl.LOCK_EX)
        list(threads.map(_compile, build.DTYPES))
    return FOLDER


def _compile(dtype: str) -> None:
    with suppress(build.KernelsUnavailable):
        build.find_or_build(FOLDER, dtype)


def copy_kernels(home: Path) -> None:
    """Put the kernels where the processes of this home folder find theirs."""
    compile_kernels()
    folder = build.get_kernels_folder(home / "cache" / "models")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in FOLDER.glob("kernels-*"):
        shutil.copy(path, folder)
