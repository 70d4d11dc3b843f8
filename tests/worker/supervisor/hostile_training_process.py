"""A hostile training process: it tries to read what is not its own, and reports what it could.

Its findings are the message of its error, as JSON.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from worker.run_folder import ExitCode, Failed, RunFolder

CANARY = b"canary-5e0b"
PTRACE_ATTACH = 16
NEEDED_ENTRIES = ("CapEff", "CapBnd", "NoNewPrivs")


def contains_canary(path: Path) -> bool:
    try:
        return CANARY in path.read_bytes()
    except OSError:
        return False


def is_possible(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def attach(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_ATTACH, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def find_secrets(home: str) -> list[str]:
    """The files with a canary that can be read, below all folders that can be listed."""
    folders = [home, "..", "../..", *map(str, Path("/proc/self/fd").glob("*"))]
    files = [
        Path(folder, name)
        for top in [*folders, *(f"{fd}/../.." for fd in folders[3:])]
        for folder, _, names in os.walk(top)
        for name in names
        if not folder.startswith("/proc/self/fd/0")
    ]
    return sorted({path.name for path in files if contains_canary(path)})


def main(folder: RunFolder) -> int:
    # The attacker knows all paths: they follow from the job's id and the source code.
    home = (folder.path / "home").read_text() if (folder.path / "home").exists() else ""
    others = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid()]
    parent = os.getppid()
    status = Path("/proc/self/status").read_text()
    findings = {
        "own environment": [name for name in os.environ if CANARY.decode() in os.environ[name]],
        "environments": [pid for pid in others if contains_canary(Path(f"/proc/{pid}/environ"))],
        "memory": is_possible(lambda: open(f"/proc/{parent}/mem", "rb")),
        "ptrace": is_possible(lambda: attach(parent)),
        "signal": is_possible(lambda: os.kill(parent, signal.SIGCONT)),
        "secrets": find_secrets(home),
        "plant": is_possible(lambda: (folder.path / "stop.link").symlink_to("/etc/passwd")),
        "status": {
            line.split()[0].rstrip(":"): line.split()[1]
            for line in status.splitlines()
            if line.startswith(NEEDED_ENTRIES)
        },
        "own data": folder.train_file.read_bytes().count(b"\n"),
        "uid": os.getuid(),
    }
    folder.append_event(Failed(code="hostile", message=json.dumps(findings)))
    return ExitCode.USER_ERROR


if __name__ == "__main__":
    sys.exit(main(RunFolder(Path(sys.argv[1]))))
