"""Sandbox of a training process: it reads the data of its own job and no secret of the service.

It always has a cleaned environment, no capabilities and no way to gain privileges. Where the
trainer runs as root, it also runs as a user of its own, one per attempt at a time, which can open
nothing of LUTHIER_HOME. Its run folder is its working directory and the base models are an open
folder, so neither needs a path that it could traverse, and no folder above LUTHIER_HOME changes.

Without root there is only one user: the processes with secrets forbid its inspection
(`app.process_hardening`), but files of that user stay readable.
"""

import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from app import logs
from worker.run_folder import RunFolder

log = logs.get_logger(__name__)

ROOT = Path(__file__).resolve().parents[2]
# Users without a name. Neither Debian nor systemd gives these ids to anyone.
FIRST_UID = 60800
MAX_UIDS = 128
# Shared by all trainers of a machine, so that no two attempts have the same user.
LOCK_FOLDER = Path("/run/luthier-training")
# From capabilities(7): chown, kill, setgid, setuid.
NEEDED_CAPABILITIES = sum(1 << number for number in (0, 5, 6, 7))
# Folders and files of the run folder that training may write to.
WRITABLE = ("events.jsonl", "checkpoints", "export", "rows", "tmp")
ACCELERATORS = ("nvidia*", "dri/*", "kfd")
# Of a user without a home and without a name. Folders are given by the working directory, since it
# cannot traverse LUTHIER_HOME.
NAMELESS_ENVIRONMENT = {
    **dict.fromkeys(("HOME", "TMPDIR"), "/proc/self/cwd/tmp"),
    **dict.fromkeys(("USER", "LOGNAME"), "luthier-training"),
}
KILL_ALL = (sys.executable, "-I", "-S", "-c", "import os; os.kill(-1, 9)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """The user of a training process and what it may open; `uid` None is the trainer's own user.

    `models` is the descriptor of the folder of base models.
    """

    uid: int | None = None
    groups: tuple[int, ...] = ()
    models: int | None = None
    drops_capabilities: bool = True

    @property
    def model_cache(self) -> str | None:
        """Path of the folder of base models, as the training process sees it."""
        return None if self.models is None else f"/proc/self/fd/{self.models}"

    @property
    def descriptors(self) -> tuple[int, ...]:
        return () if self.models is None else (self.models,)

    @property
    def options(self) -> list[str]:
        """The options of `exec_with_parent` that enter this sandbox."""
        if not self.drops_capabilities:
            return []
        if self.uid is None:
            return ["--unprivileged"]
        return ["--user", ",".join(map(str, (self.uid, *self.groups)))]

    def get_folder_argument(self, folder: RunFolder) -> str:
        """The run folder as an argument of a process that has it as its working directory."""
        if self.uid is None:
            return str(folder.path)
        # Absolute, since libraries prepend the working directory to other paths.
        return f"/proc/self/cwd/../{folder.path.name}"

    def build_environment(self) -> dict[str, str]:
        """Variables of a user without a home and without a name."""
        return {} if self.uid is None else dict(NAMELESS_ENVIRONMENT)

    def hand_over(self, folder: RunFolder) -> None:
        """Let the training process read its run folder, and write what it makes."""
        if self.uid is None:
            return
        folder.events.touch()
        (folder.path / "tmp").mkdir(exist_ok=True)
        for path in (folder.path, *folder.path.rglob("*")):
            os.chown(path, 0, self.uid)
            path.chmod(0o750 if path.is_dir() else 0o640)
        for name in WRITABLE:
            path = folder.path / name
            for made in (path, *path.rglob("*")) if path.exists() else ():
                os.chown(made, self.uid, self.uid)
        # Traversable, not readable: the names of other run folders stay unknown.
        folder.path.parent.chmod(0o711)


@contextmanager
def open_sandbox(models: Path, needed: Sequence[Path]) -> Iterator[Sandbox]:
    """Yield the strictest sandbox in which `needed`, such as the interpreter, can be opened."""
    if os.geteuid() != 0:
        yield Sandbox()
        return
    if not _has_capabilities(NEEDED_CAPABILITIES):
        yield Sandbox(drops_capabilities=_is_reachable_by(0, needed))
        return
    with _lock_uid() as uid:
        if uid is None or not _is_reachable_by(uid, needed):
            # A virtual environment in root's home, for example.
            log.warning("sandbox.same_user", reason="the interpreter or its packages are private")
            yield Sandbox(drops_capabilities=_is_reachable_by(0, needed))
            return
        models.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(models, os.O_PATH | os.O_DIRECTORY)
        try:
            _make_readable(models)
            yield Sandbox(uid=uid, groups=_list_accelerator_groups(), models=descriptor)
        finally:
            os.close(descriptor)
            # A process may have left its group; the user's next attempt must not meet it.
            subprocess.run(KILL_ALL, user=uid, group=uid, extra_groups=[], cwd="/", check=False)


def build_usual_environment(command: Sequence[str]) -> dict[str, str]:
    """The variables of the sandbox that this trainer opens for a command, and a readable model."""
    is_privileged = os.geteuid() == 0 and _has_capabilities(NEEDED_CAPABILITIES)
    needed = list_needed_paths(command, model_source="")
    is_nameless = is_privileged and _is_reachable_by(FIRST_UID, needed)
    return dict(NAMELESS_ENVIRONMENT) if is_nameless else {}


def list_needed_paths(command: Sequence[str], model_source: str) -> list[Path]:
    """List what a training command must be able to open, in addition to its run folder."""
    paths = [Path(word) for word in command if word.startswith("/")]
    if command[0] == sys.executable:
        paths += [Path(os.__file__), ROOT / "worker", ROOT / "app"]
        paths += [Path(path) for path in sys.path if path]
    if model_source.startswith("path:"):
        paths.append(Path(model_source.removeprefix("path:")))
    return [path for path in paths if path.exists()]


def _has_capabilities(needed: int) -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (effective,) = [line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")]
    return int(effective, 16) & needed == needed


@contextmanager
def _lock_uid() -> Iterator[int | None]:
    """Yield a user id that nobody else on this machine has until the block ends, or None."""
    try:
        LOCK_FOLDER.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        yield None
        return
    for uid in range(FIRST_UID, FIRST_UID + MAX_UIDS):
        with (LOCK_FOLDER / str(uid)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield uid
            return
    yield None


def _is_reachable_by(uid: int, paths: Sequence[Path]) -> bool:
    """True if a user without capabilities or groups can read these files, or list these folders."""
    for path in {*(path.absolute() for path in paths), *(path.resolve() for path in paths)}:
        target = os.stat(path)
        read = 0o5 if stat.S_ISDIR(target.st_mode) else 0o4
        if not _is_allowed(target, uid, read):
            return False
        if not all(_is_allowed(os.stat(parent), uid, 0o1) for parent in path.parents):
            return False
    return True


def _is_allowed(status: os.stat_result, uid: int, access: int) -> bool:
    shift = 6 if status.st_uid == uid else 3 if status.st_gid == uid else 0
    return status.st_mode >> shift & access == access


def _make_readable(models: Path) -> None:
    """Let the training process read the base models, which a strict umask may prevent.

    They stay private to others: no other user can traverse LUTHIER_HOME.
    """
    for path in (models, *models.rglob("*")):
        # Files of a download or a compiler in progress come and go.
        with suppress(FileNotFoundError):
            needed = 0o5 if path.is_dir() else 0o4
            mode = path.stat().st_mode
            if mode & needed != needed and not path.is_symlink():
                path.chmod(stat.S_IMODE(mode) | needed)


def _list_accelerator_groups() -> tuple[int, ...]:
    """List the groups of accelerators' devices that are not open to everybody."""
    devices = [path for pattern in ACCELERATORS for path in Path("/dev").glob(pattern)]
    statuses = [path.stat() for path in devices if path.exists()]
    private = {status.st_gid for status in statuses if not status.st_mode & stat.S_IROTH}
    # Root's own group would open more than devices.
    return tuple(sorted(private - {0}))
