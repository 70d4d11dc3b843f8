"""Weights & Biases runs of an attempt. They never delay training."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from app import logs
from app.db.tables import EventLevel
from app.jobs.events import NewEvent
from app.jobs.leases import JobAssignment
from app.jobs.wandb_policy import WandbPolicy
from app.settings import Settings
from worker.run_folder import RunFolder
from worker.supervisor.training_process import EXEC_WITH_PARENT
from worker.supervisor.wandb_config import WandbRunConfig

log = logs.get_logger(__name__)

WANDB_COMMAND = (sys.executable, "-m", "worker.supervisor.wandb_process")
# Time to reach the server; the library itself would wait for many minutes.
START_TIMEOUT_SECONDS = 45.0
# Time to upload the rest before the job ends.
FINISH_TIMEOUT_SECONDS = 10.0
POLL_INTERVAL_SECONDS = 0.1
INHERITED_ENVIRONMENT = frozenset(
    {"HOME", "HTTPS_PROXY", "HTTP_PROXY", "LANG", "NO_PROXY", "PATH", "PYTHONPATH"}
    | {"SSL_CERT_FILE", "TMPDIR", "TZ", "VIRTUAL_ENV"}
)
GAVE_UP_MESSAGE = (
    "Weights & Biases could not be reached: its run {number} is missing or incomplete. The job "
    "continues without it; its metrics are in these events and in the result file."
)

ENTITY_MESSAGE = (
    "The operator no longer allows the W&B entity {entity} of run {number}. The job continues "
    "without this run; its metrics are in these events and in the result file."
)

AddEvent = Callable[[NewEvent], None]


class WandbRuns:
    """All W&B runs of one attempt; leaving the `with` block kills their processes.

    Enter it in a thread that outlives the runs: a process dies with the thread that started it.
    """

    def __init__(
        self, assignment: JobAssignment, folder: RunFolder, settings: Settings, add_event: AddEvent
    ) -> None:
        self._runs = [
            _Run(number, assignment, folder, settings, add_event)
            for number, _ in enumerate(assignment.integrations)
        ]

    def __enter__(self) -> Self:
        for run in self._runs:
            run.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for run in self._runs:
            run.kill()

    def poll(self) -> None:
        """Report runs that have started, and give up on those that did not."""
        for run in self._runs:
            run.poll()

    def finish(self) -> None:
        """Let the runs upload their last metrics, up to a time limit."""
        for run in self._runs:
            run.request_end()
        deadline = time.monotonic() + FINISH_TIMEOUT_SECONDS
        while any(run.is_running for run in self._runs) and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_SECONDS)
            self.poll()
        for run in self._runs:
            run.give_up_unfinished()


class _Run:
    """One W&B run: its process and its job events."""

    def __init__(
        self,
        number: int,
        assignment: JobAssignment,
        folder: RunFolder,
        settings: Settings,
        add_event: AddEvent,
    ) -> None:
        self._number = number
        self._assignment = assignment
        self._folder = folder
        self._settings = settings
        self._add_event = add_event
        self._process: subprocess.Popen[bytes] | None = None
        self._is_url_reported = False

    def start(self) -> None:
        wandb = self._assignment.integrations[self._number]["wandb"]
        # Checked when the job was created; the operator's choice may have changed since.
        if not WandbPolicy.from_settings(self._settings).allows_entity(wandb["entity"]):
            message = ENTITY_MESSAGE.format(number=self._number + 1, entity=wandb["entity"])
            event = NewEvent(f"wandb-entity:{self._number}", message, level=EventLevel.WARN)
            self._add_event(event)
            return
        try:
            self._start()
        except OSError as error:
            self._give_up(str(error))

    def _start(self) -> None:
        config = self._make_config()
        Path(config.directory).mkdir(parents=True, exist_ok=True)
        path = self._path("json")
        config.write(path)
        self._start_deadline = time.monotonic() + START_TIMEOUT_SECONDS
        with self._path("log").open("ab") as output:
            self._process = subprocess.Popen(
                [*EXEC_WITH_PARENT, str(os.getpid()), *WANDB_COMMAND, str(path)],
                env=_environment(self._settings, Path(config.directory)),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._send_key(self._process)

    def _send_key(self, process: "subprocess.Popen[bytes]") -> None:
        """Send the operator's key, which would be readable in /proc as an environment variable."""
        key = self._settings.wandb_api_key
        assert process.stdin is not None
        # It ended at once; `poll` reports that.
        with suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(b"" if key is None else key.get_secret_value().encode())

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def poll(self) -> None:
        if self._process is None:
            return
        if self._path("ready").exists():
            self._report_url(self._path("ready").read_text(encoding="utf-8"))
        elif time.monotonic() > self._start_deadline:
            self._give_up("it did not start in time")
        if self._process is not None and self._process.poll() not in (None, 0):
            self._give_up(f"it ended with code {self._process.returncode}")

    def request_end(self) -> None:
        self._path("ended").touch()

    def give_up_unfinished(self) -> None:
        if self.is_running:
            self._give_up("it did not finish in time")

    def kill(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            # The library has child processes; all are in one process group.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _give_up(self, reason: str) -> None:
        log.warning("wandb.given_up", job=self._assignment.job_id, reason=reason)
        self.kill()
        message = GAVE_UP_MESSAGE.format(number=self._number + 1)
        self._add_event(NewEvent(f"wandb-lost:{self._number}", message, level=EventLevel.WARN))

    def _report_url(self, url: str) -> None:
        if self._is_url_reported or not url:
            return
        self._is_url_reported = True
        self._add_event(NewEvent(f"wandb:{self._number}", f"Weights & Biases run: {url}"))

    def _path(self, suffix: str) -> Path:
        return self._folder.path / f"wandb-{self._number}.{suffix}"

    def _make_config(self) -> WandbRunConfig:
        assignment, settings = self._assignment, self._settings
        wandb: dict[str, Any] = assignment.integrations[self._number]["wandb"]
        policy = WandbPolicy.from_settings(settings)
        offline = settings.wandb_mode == "offline"
        directory = settings.home / "wandb" if offline else self._folder.path / "wandb"
        return WandbRunConfig(
            run_folder=str(self._folder.path),
            directory=str(directory),
            ready_file=str(self._path("ready")),
            ended_file=str(self._path("ended")),
            mode=settings.wandb_mode,
            id=f"{assignment.job_id}-{self._number}",
            project=policy.build_project(assignment.project_id, wandb["project"]),
            name=wandb["name"] or assignment.job_id,
            entity=wandb["entity"] or policy.entity,
            tags=wandb["tags"],
            config={
                "model": assignment.start_model or assignment.base_model,
                "method": assignment.method,
                "seed": assignment.seed,
                "job": assignment.job_id,
            },
        )


def _environment(settings: Settings, directory: Path) -> dict[str, str]:
    """Environment of the process: no credentials, own directories."""
    values: Sequence[tuple[str, str | None]] = (
        ("WANDB_BASE_URL", settings.wandb_base_url),
        ("WANDB_CACHE_DIR", str(directory)),
        ("WANDB_CONFIG_DIR", str(directory)),
        ("WANDB_DATA_DIR", str(directory)),
        ("WANDB_ERROR_REPORTING", "false"),
    )
    inherited = {name: os.environ[name] for name in INHERITED_ENVIRONMENT & os.environ.keys()}
    return inherited | {name: value for name, value in values if value is not None}
