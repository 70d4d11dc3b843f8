"""The C compiler of this machine, which the engine's native kernels are compiled with."""

import shutil
import sys
from importlib.util import find_spec


def find_c_compiler() -> list[str] | None:
    """Return the command of the system's compiler, or else of the `ziglang` package, or None."""
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return [path]
    return [sys.executable, "-m", "ziglang", "cc"] if find_spec("ziglang") else None
