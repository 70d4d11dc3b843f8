"""The C compilers of this machine, which the engine's native kernels are compiled with."""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path


def list_c_compilers() -> list[list[str]]:
    """Return the commands of the system's compilers, and then that of the `ziglang` package.

    Each is tried after those before it failed: what is on PATH may be broken, or too old.
    """
    paths = [path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))]
    # One compiler has several names.
    distinct = {Path(path).resolve(): path for path in reversed(paths)}
    commands = [[path] for path in paths if path in distinct.values()]
    if find_spec("ziglang"):
        commands.append([sys.executable, "-m", "ziglang", "cc"])
    return commands
