"""`python -m worker.inference.native.check MODELS`: whether this machine has native kernels.

It prints one sentence for `luthier doctor`, and exits with 1 if torch computes without them. Where
nothing has been compiled yet, the compiler is tried with the same options on a file of one line.
"""

import sys
import tempfile
from pathlib import Path

from worker.inference.native.build import (
    DTYPES,
    PREBUILT,
    KernelsUnavailable,
    build,
    detect_level,
    find_or_build,
    get_kernels_folder,
    name_library,
)

TRIAL = "int luthier_trial(void) { return 0; }\n"


def describe(models: Path) -> str:
    """Describe where the kernels of this CPU come from. Raises KernelsUnavailable."""
    level = detect_level()
    names = [name_library(dtype, level) for dtype in DTYPES]
    if any((PREBUILT / name).is_file() for name in names):
        return f"prebuilt, for {level.name}"
    folder = get_kernels_folder(models)
    for dtype, name in zip(DTYPES, names, strict=True):
        if (folder / name).is_file():
            return f"compiled for {level.name} in {find_or_build(folder, dtype).parent}"
    with tempfile.TemporaryDirectory() as folder_of_trial:
        source = Path(folder_of_trial, "trial.c")
        source.write_text(TRIAL, encoding="ascii")
        compiler = build(source.with_suffix(".so"), next(iter(DTYPES)), level, source)
    return f"compiled for {level.name} with {compiler} when an engine starts"


def main() -> int:
    try:
        sentence, status = describe(Path(sys.argv[1])), 0
    except KernelsUnavailable as error:
        sentence, status = str(error), 1
    sys.stdout.write(f"{sentence}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
