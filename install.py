"""Create .venv and keep it at the locked packages: `python3 install.py [--dev]`.

Standard library only, as it runs before anything is installed: it creates the environment and
installs uv into it, and uv installs the rest from the lock files, each file checked against its
hash. Only wheels are installed: a source distribution would run its build code here. Nothing is
done when the locks, the project's own metadata and this file are those of the last run.
"""

import argparse
import ast
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LOCKS = ROOT / "requirements"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
# Exists while packages are being installed: a run that finds it starts from an empty .venv.
UNFINISHED = VENV / ".unfinished"


# What the service's processes import. Their bytecode is written at installation: a training process
# may not write here, and would compile for seconds at each start.
IMPORTED = (
    *("app.main", "worker.main", "worker.inference.main", "worker.training.process"),
    *("worker.training.encoders.builder", "sklearn.metrics"),
    "transformers.models.llama.modeling_llama",
)


class InstallError(Exception):
    """The packages could not be installed; the message says why."""


def lock_files(*, dev: bool) -> list[Path]:
    """The lock files to install, without torch's: everything is pinned, so nothing is resolved."""
    names = ["runtime.lock", "dev.lock"] if dev else ["runtime.lock"]
    return [LOCKS / name for name in names]


def stamp(*, dev: bool) -> Path:
    """The file that .venv contains once exactly these locks have been installed completely."""
    digest = hashlib.sha256()
    torch = [LOCKS / "torch.lock", LOCKS / "torch-cpu.lock"]
    for path in (*lock_files(dev=dev), *torch, ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    return VENV / f".installed-{digest.hexdigest()[:16]}"


def create_venv() -> None:
    """Create .venv if it is missing, if the last installation was interrupted, or if it is broken.

    Raises InstallError.
    """
    if PYTHON.exists() and UV.exists() and not UNFINISHED.exists():
        return
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    UNFINISHED.touch()
    try:
        venv.create(VENV, with_pip=True)
    except subprocess.CalledProcessError as error:
        raise InstallError(
            "This Python cannot create virtual environments. Debian and Ubuntu need the package "
            "python3-venv; or name another Python: make PYTHON=/path/to/python3 up"
        ) from error
    # pip checks uv's hash, since every requirement of this file has one.
    quiet = ("--quiet", "--quiet", "--no-input")
    run(*pip("install", *quiet, "--only-binary", ":all:", "-r", LOCKS / "uv.lock"))


def pip(*arguments: str | Path) -> list[str | Path]:
    return [PYTHON, "-m", "pip", "--disable-pip-version-check", *arguments]


def run(*command: str | Path) -> None:
    """Run a command whose output a person sees. Raises InstallError if it fails."""
    with subprocess.Popen([str(part) for part in command]) as process:
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if code != 0:
        raise InstallError("The packages could not be installed; the lines above say why.")


def pip_configuration() -> dict[str, list[str]]:
    """The values of pip's configuration, from its files and from PIP_* variables, by option.

    Machines behind a mirror, or with a folder of wheels, are set up for pip; uv reads none of it.
    """
    listing = subprocess.run(
        [str(part) for part in pip("config", "list")], capture_output=True, text=True, check=False
    )
    found: dict[str, list[str]] = {}
    for line in listing.stdout.splitlines():
        name, _, value = line.partition("=")
        found[name.rpartition(".")[2]] = str(ast.literal_eval(value)).split()
    return found


def torch_lock(wheel_folders: list[str]) -> Path:
    """The lock of torch's CPU build if a folder has that very file, else of the default build."""
    cpu = LOCKS / "torch-cpu.lock"
    locked = cpu.read_text()
    for folder in wheel_folders:
        for wheel in Path(folder).glob("torch-*+cpu-*.whl"):
            with wheel.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() in locked:
                    return cpu
    return LOCKS / "torch.lock"


def install(*, dev: bool) -> None:
    """Bring .venv to the locked packages. Raises InstallError with a sentence."""
    if stamp(dev=dev).exists():
        return
    sys.stdout.write("Installing the locked packages into .venv\n")
    sys.stdout.flush()
    create_venv()
    UNFINISHED.touch()
    configured = pip_configuration()
    options = [f"--find-links={place}" for place in configured.get("find-links", [])]
    options += [f"--default-index={url}" for url in configured.get("index-url", [])]
    torch = torch_lock(configured.get("find-links", []))
    if torch.name == "torch-cpu.lock" or not sys.stdout.isatty():
        # Without the CUDA packages it takes half a minute, and progress would be a hundred lines.
        options.append("--quiet")
    locks = [*lock_files(dev=dev), torch]
    run(UV, "pip", "sync", "--python", PYTHON, "--require-hashes", "--no-build", *options, *locks)
    editable = ("--no-deps", "--no-build-isolation", "--editable", ROOT)
    run(UV, "pip", "install", "--python", PYTHON, "--quiet", *editable)
    compile_bytecode()
    for old in VENV.glob(".installed-*"):
        old.unlink()
    stamp(dev=dev).touch()
    stamp(dev=False).touch()
    UNFINISHED.unlink()


def compile_bytecode() -> None:
    """Write the bytecode of what the processes import; without it they only start slower."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [str(PYTHON), "-c", f"import {', '.join(IMPORTED)}, os; os._exit(0)"]
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description="Create .venv and install the locked packages.")
    parser.add_argument("--dev", action="store_true", help="with what the tests need")
    dev = parser.parse_args().dev
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Path(__file__).open("rb") as lock:
        # `make up` and `make test` in two terminals must not fill one .venv at the same time.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            install(dev=dev)
        except InstallError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        except KeyboardInterrupt:
            sys.stderr.write("\nInterrupted; the next run starts the installation anew.\n")
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
