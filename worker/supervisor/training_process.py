"""The training subprocess: minimal environment, graceful stop, killed with its whole group."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from app.catalog import Catalog, ModelKind
from app.settings import Settings
from worker.fork_request import ForkRequest, PreloadRequest
from worker.run_folder import RunFolder
from worker.supervisor.fork_server_client import ForkServerClient
from worker.supervisor.run_folders import get_model_cache
from worker.supervisor.sandbox import Sandbox, build_usual_environment
from worker.supervisor.slots import Slot

TRAINING_COMMAND = (sys.executable, "-m", "worker.training")
EVALUATION_COMMAND = (sys.executable, "-m", "worker.evaluation")
EXEC_WITH_PARENT = (sys.executable, "-m", "worker.supervisor.exec_with_parent")
# Allowlist: training gets no credentials, of the database, broker, storage or a model hub.
INHERITED_ENVIRONMENT = frozenset(
    {
        "CUBLAS_WORKSPACE_CONFIG",
        "CUDA_VISIBLE_DEVICES",
        "HF_ENDPOINT",
        "HF_HOME",
        "HF_HUB_OFFLINE",
        "HOME",
        "LANG",
        "LC_ALL",
        "LD_LIBRARY_PATH",
        "MKL_NUM_THREADS",
        "NVIDIA_DRIVER_CAPABILITIES",
        "NVIDIA_VISIBLE_DEVICES",
        "OMP_NUM_THREADS",
        "PATH",
        "PYTHONPATH",
        "TMPDIR",
        "TZ",
        "VIRTUAL_ENV",
    }
)
# When memory runs out, the kernel kills training and not the supervisor, which reports it.
OOM_SCORE_ADJ = 800
# How often a process is asked for new events, by the size of their file.
EVENTS_INTERVAL_SECONDS = 0.02
# Time that killed processes have to end.
REAP_TIMEOUT_SECONDS = 1.0


def inherit_environment() -> dict[str, str]:
    """The variables that a training process inherits."""
    return {name: os.environ[name] for name in INHERITED_ENVIRONMENT & os.environ.keys()}


def make_fork_server(settings: Settings, catalog: Catalog) -> ForkServerClient | None:
    """Make the fork server of a trainer, unless the settings have none, or another command.

    Until the first job comes it loads the catalog's first chat model, after its first encoder.
    """
    if not settings.training_fork_server or settings.training_command:
        return None
    command = (*EXEC_WITH_PARENT, str(os.getpid()), *TRAINING_COMMAND, "--fork-server")
    folder = settings.home / "cache" / "fork-server"
    first = {model.kind: model.to_json() for model in reversed(list(catalog))}
    likely = [first[kind] for kind in (ModelKind.ENCODER, ModelKind.CAUSAL) if kind in first]
    return ForkServerClient(
        command,
        inherit_environment() | build_usual_environment(TRAINING_COMMAND),
        folder,
        preload=PreloadRequest(preload=likely, models=str(get_model_cache(settings))),
    )


def _reap_group(group: int) -> None:
    """Reap what a killed process leaves, which a fork server makes children of this process."""
    deadline = time.monotonic() + REAP_TIMEOUT_SECONDS
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-group, os.WNOHANG)[0] == 0:
                time.sleep(0.01)


class ForkedProcess:
    """A child that this process did not start; like a `Popen`, as far as it is needed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def wait(self) -> int:
        """Reap it; return its exit code, or the negative signal that killed it."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


class TrainingProcess:
    """One training process and its children. Leaving the `with` block kills those still running.

    Enter it in a thread that outlives the process: the kernel kills the process when the thread
    that started it ends.
    """

    def __init__(
        self,
        folder: RunFolder,
        command: Sequence[str] = TRAINING_COMMAND,
        sandbox: Sandbox | None = None,
        slot: Slot | None = None,
        *,
        oom_score_adj: int = OOM_SCORE_ADJ,
        fork_server: ForkServerClient | None = None,
    ) -> None:
        """`fork_server` is asked first; it knows only TRAINING_COMMAND."""
        self._folder = folder
        self._fork_server = fork_server
        self._sandbox = sandbox or Sandbox()
        own = self._sandbox.build_environment() | (slot or Slot()).build_environment()
        self._environment = inherit_environment() | own
        self._command = [
            *(*EXEC_WITH_PARENT, str(os.getpid()), *self._sandbox.options),
            *(*command, self._sandbox.get_folder_argument(folder)),
        ]
        self._oom_score_adj = oom_score_adj
        self._kill_at: float | None = None
        self._events_bytes = 0
        self.is_aborted = False

    def __enter__(self) -> Self:
        self._process = self._fork() or self._start()
        self._raise_oom_score()
        return self

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._folder.log.open("ab") as log:
            return subprocess.Popen(
                self._command,
                cwd=self._folder.path,
                env=self._environment,
                pass_fds=self._sandbox.descriptors,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _fork(self) -> ForkedProcess | None:
        if self._fork_server is None:
            return None
        models = self._sandbox.models
        request = ForkRequest(
            parent=os.getpid(),
            run_folder=str(self._folder.path),
            argument=self._sandbox.get_folder_argument(self._folder),
            log=str(self._folder.log),
            environment=self._environment,
            drops_privileges=self._sandbox.drops_capabilities,
            uid=self._sandbox.uid,
            groups=self._sandbox.groups,
            models=None if models is None else os.readlink(f"/proc/self/fd/{models}"),
            models_descriptor=models,
        )
        pid = self._fork_server.fork(request)
        return None if pid is None else ForkedProcess(pid)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_stop_requested(self) -> bool:
        return self._kill_at is not None

    def poll(self) -> int | None:
        """Return the exit code (negative: the signal that killed it), or None while it runs."""
        if self._has_ended():
            return self._reap()
        if self._kill_at is not None and time.monotonic() > self._kill_at:
            return self.kill()
        return None

    def wait(self, seconds: float) -> None:
        """Return when the process has ended or written events, or after so many seconds."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            # Not Linux, or it has ended and `poll` has said so.
            time.sleep(seconds)
            return
        deadline = time.monotonic() + seconds
        try:
            ended = select.poll()
            ended.register(descriptor, select.POLLIN)
            while (left := deadline - time.monotonic()) > 0:
                # At least so long, since a step may take a millisecond.
                if ended.poll(min(left, EVENTS_INTERVAL_SECONDS) * 1000) or self._has_new_events():
                    return
        finally:
            os.close(descriptor)

    def _has_new_events(self) -> bool:
        """True if there are more than when this was asked last."""
        try:
            size = self._folder.events.stat().st_size
        except FileNotFoundError:
            return False
        previous, self._events_bytes = self._events_bytes, size
        return size != previous

    def stop(self, *, grace_seconds: float) -> None:
        """Request a checkpoint and exit; `poll` kills it after the grace period.

        A further request only shortens the grace period.
        """
        kill_at = time.monotonic() + grace_seconds
        if self._kill_at is not None or self._has_ended():
            self._kill_at = min(kill_at, self._kill_at or kill_at)
            return
        self._kill_at = kill_at
        # Before the file: a process that has seen it and exits has no handler any more, so that the
        # signal would kill it.
        os.kill(self.pid, signal.SIGTERM)
        self._folder.stop_file.touch()

    def abort(self, *, grace_seconds: float) -> None:
        """Make it log its stacks and exit; `poll` kills it after the grace period."""
        if self.is_aborted or self._has_ended():
            return
        self.is_aborted = True
        self._kill_at = time.monotonic() + grace_seconds
        os.kill(self.pid, signal.SIGABRT)

    def kill(self) -> int:
        """Kill it and its children now; return its exit code."""
        if self._process.returncode is None and not self._has_ended():
            os.killpg(self.pid, signal.SIGKILL)
        return self._reap()

    def _has_ended(self) -> bool:
        if self._process.returncode is not None:
            return True
        # Without reaping it: until then no other process group can get its id.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def _reap(self) -> int:
        if self._process.returncode is None:
            # Its children do not outlive it. The group still exists, since it is not reaped.
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            _reap_group(self.pid)
        return self._process.wait()

    def _raise_oom_score(self) -> None:
        try:
            with open(f"/proc/{self.pid}/oom_score_adj", "w", encoding="ascii") as file:
                file.write(str(self._oom_score_adj))
        except OSError:
            # No such file on this system, or the process has ended already.
            return
