"""Compilation of `kernels.c` and its headers, once per folder of base models and kind of CPU.

    python -m worker.inference.native.build FOLDER

compiles the libraries of all CPUs of this architecture, for images; a folder `prebuilt` beside this
file is used before anything is compiled. Imports the standard library alone: the stage of the image
that compiles has no packages.
"""

import hashlib
import logging
import os
import platform
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.c_compiler import list_c_compilers

SOURCE = Path(__file__).with_name("kernels.c")
PREBUILT = Path(__file__).with_name("prebuilt")
DTYPES = {"bfloat16": ("-DLUTHIER_BF16",), "float32": ()}
# Words of packed weights are read by another type than they are written by.
# Loops that are peeled until their data is aligned would add in an order that depends on addresses.
NO_PEELING = "--param=vect-max-peeling-for-alignment=0"
# Loops with square roots would not be vectorized.
NO_ERRNO = "-fno-math-errno"
FLAGS = (
    *("-std=gnu11", "-O3", "-fno-strict-aliasing", "-fopenmp-simd", "-fPIC", "-shared"),
    *(NO_PEELING, NO_ERRNO),
)
# A compiler takes 10 seconds; the model is served without kernels if it takes longer than this.
TIMEOUT_SECONDS = 120.0

log = logging.getLogger(__name__)

# A second thread waits for the first one's libraries.
_preparing = threading.Lock()


class KernelsUnavailable(Exception):
    """There are no native kernels on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class CpuLevel:
    """A set of instructions: its name in `-march`, and the CPU flags that it needs."""

    name: str
    cpu_flags: frozenset[str] = frozenset()
    compiler_flags: tuple[str, ...] = ()


# As /proc/cpuinfo names them; `abm` has the instruction lzcnt.
V3_FLAGS = frozenset({"abm", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"})
V4_FLAGS = V3_FLAGS | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
V4_COMPILER_FLAGS = ("-march=x86-64-v4", "-mprefer-vector-width=512")
# Highest first; names are gcc's and clang's. A level rather than this very CPU, so that images and
# home folders can be shared.
BASELINE = CpuLevel("baseline")
X86_LEVELS = (
    # Products of bfloat16 and of int8, which CPUs that are served in bfloat16 have.
    CpuLevel(
        "x86-64-v4-bf16",
        V4_FLAGS | {"avx512_bf16", "avx512_vnni"},
        (*V4_COMPILER_FLAGS, "-mavx512bf16", "-mavx512vnni"),
    ),
    CpuLevel("x86-64-v4", V4_FLAGS, V4_COMPILER_FLAGS),
    CpuLevel("x86-64-v3", V3_FLAGS, ("-march=x86-64-v3",)),
    BASELINE,
)


def get_kernels_folder(models: Path) -> Path:
    """The folder of compiled libraries: in that of base models, all that sandboxed training reads.

    A trained model is compared with what the engine computes, and so by the same kernels.
    """
    return models / ".kernels"


def prepare(models: Path) -> None:
    """Compile what is missing, for processes that cannot write to the folder. Thread-safe."""
    with _preparing:
        for dtype in DTYPES:
            with suppress(KernelsUnavailable):
                find_or_build(get_kernels_folder(models), dtype)


def list_levels() -> tuple[CpuLevel, ...]:
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return X86_LEVELS if is_x86 else (BASELINE,)


def detect_level() -> CpuLevel:
    """Return the highest level of this CPU."""
    flags = _read_cpu_flags()
    return next(level for level in list_levels() if level.cpu_flags <= flags)


def _read_cpu_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return next(
        (frozenset(line.split()) for line in lines if line.startswith("flags")), frozenset()
    )


def name_library(dtype: str, level: CpuLevel) -> str:
    """Name a library by everything that it was compiled from: another version has another name."""
    options = " ".join((*FLAGS, *DTYPES[dtype], *level.compiler_flags))
    sources = b"".join(path.read_bytes() for path in (SOURCE, *sorted(SOURCE.parent.glob("*.h"))))
    digest = hashlib.sha256(sources + options.encode()).hexdigest()[:16]
    return f"kernels-{dtype}-{level.name}-{digest}.so"


def find_or_build(folder: Path, dtype: str) -> Path:
    """Return the library for this CPU, compiled into `folder` if needed.

    Raises KernelsUnavailable.
    """
    level = detect_level()
    name = name_library(dtype, level)
    if (PREBUILT / name).is_file():
        return PREBUILT / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_private(folder)
        path = folder / name
        if not _is_intact(path):
            build(path, dtype, level, SOURCE)
        _require_private(path)
    except OSError as error:
        raise KernelsUnavailable(f"{folder} cannot be used: {error}") from error
    return path


def _require_private(path: Path) -> None:
    """Raise KernelsUnavailable if users other than root could have put their code there."""
    status = path.stat()
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise KernelsUnavailable(f"{path} belongs to another user, or others can write to it")


def _is_intact(path: Path) -> bool:
    try:
        return _checksum_path(path).read_bytes() == _checksum(path).encode()
    except FileNotFoundError:
        return False


def _checksum_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build(path: Path, dtype: str, level: CpuLevel, source: Path) -> str:
    """Compile a library with the first compiler that can, and return that compiler's command.

    Raises KernelsUnavailable.
    """
    problems = []
    for compiler in list_c_compilers():
        try:
            _build_with(compiler, path, source, [*DTYPES[dtype], *level.compiler_flags])
        except KernelsUnavailable as error:
            log.warning("kernels.compiler_failed: %s", error)
            problems.append(str(error))
        else:
            return " ".join(compiler)
    raise KernelsUnavailable(
        "; ".join(problems) or "no C compiler was found (cc, gcc, clang or the package ziglang)"
    )


def _build_with(compiler: list[str], path: Path, source: Path, options: list[str]) -> None:
    """Compile a library, and rename it into place once it is complete.

    Processes that do so at the same time each rename their own. Raises KernelsUnavailable.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".build-") as name:
        built = Path(name, path.name)
        flags = [*FLAGS, *options]
        if "ziglang" in compiler:
            flags = [_zig_flag(flag) for flag in flags]
        _run_compiler([*compiler, *flags, "-o", str(built), str(source)], Path(name))
        if not built.is_file():
            raise KernelsUnavailable(f"{compiler[0]} wrote no file")
        checksum = Path(name, "checksum")
        checksum.write_text(_checksum(built), encoding="ascii")
        for written, target in ((built, path), (checksum, _checksum_path(path))):
            written.chmod(0o600)
            written.replace(target)


def _zig_flag(flag: str) -> str:
    """Zig has underscores in the names of CPUs, where others have hyphens."""
    prefix = "-march="
    return prefix + flag.removeprefix(prefix).replace("-", "_") if prefix in flag else flag


def _run_compiler(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(folder), "TMPDIR": str(folder)}
    environment["ZIG_LOCAL_CACHE_DIR"] = str(folder)
    # A group of its own: a compiler's driver leaves its children behind when it is killed.
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            process_group=0,
        )
    except OSError as error:
        # Such as a program for another architecture.
        raise KernelsUnavailable(f"{command[0]} cannot be run: {error}") from error
    try:
        _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise KernelsUnavailable(f"{command[0]} took too long") from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        raise KernelsUnavailable(f"{command[0]} failed: {errors.strip()[-500:]}")


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for dtype in DTYPES:
        for level in list_levels():
            path = folder / name_library(dtype, level)
            build(path, dtype, level, SOURCE)
            path.chmod(0o644)


if __name__ == "__main__":
    main()
