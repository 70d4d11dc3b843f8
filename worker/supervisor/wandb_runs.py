"""Runs at Weights & Biases beside a training, which they never hold up."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from app import logs
from app.jobs.events import Entry
from app.jobs.leases import Claim
from app.settings import Settings
from worker.rundir import RunFolder
from worker.supervisor.training_process import LEASH
from worker.supervisor.wandb_config import Plan

log = logs.get(__name__)

COMMAND = (sys.executable, "-m", "worker.supervisor.wandb_process")
# To find its server; the library itself would wait for many minutes.
START_SECONDS = 45.0
# To bring what is left, before the job ends.
FINISH_SECONDS = 10.0
LOOK_SECONDS = 0.1
ENVIRONMENT = frozenset(
    {"HOME", "HTTPS_PROXY", "HTTP_PROXY", "LANG", "NO_PROXY", "PATH", "PYTHONPATH"}
    | {"SSL_CERT_FILE", "TMPDIR", "TZ", "VIRTUAL_ENV"}
)
GIVEN_UP = (
    "Weights & Biases could not be reached: its run {number} is not written, or not to its end. "
    "The job goes on without it; its metrics are in these events and in the result file."
)

Tell = Callable[[Entry], None]


class Integrations:
    """All runs of one attempt. Enter it in the thread that stays to the end; leaving ends them."""

    def __init__(self, claim: Claim, folder: RunFolder, settings: Settings, tell: Tell) -> None:
        self._runs = [
            _Run(number, claim, folder, settings, tell)
            for number, _ in enumerate(claim.integrations)
        ]

    def __enter__(self) -> Self:
        for run in self._runs:
            run.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for run in self._runs:
            run.kill()

    def look(self) -> None:
        """Tell of runs that have begun, and give up those that do not."""
        for run in self._runs:
            run.look()

    def finish(self) -> None:
        """Have the last metrics brought, in the time that there is."""
        for run in self._runs:
            run.end()
        deadline = time.monotonic() + FINISH_SECONDS
        while any(run.is_at_work for run in self._runs) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            self.look()
        for run in self._runs:
            run.give_up_unfinished()


class _Run:
    """One process, and what is told of it."""

    def __init__(
        self, number: int, claim: Claim, folder: RunFolder, settings: Settings, tell: Tell
    ) -> None:
        self._number = number
        self._claim = claim
        self._folder = folder
        self._settings = settings
        self._tell = tell
        self._process: subprocess.Popen[bytes] | None = None
        self._is_told = False

    def start(self) -> None:
        try:
            self._start()
        except OSError as error:
            self._give_up(str(error))

    def _start(self) -> None:
        plan = self._plan()
        Path(plan.place).mkdir(parents=True, exist_ok=True)
        path = self._path("json")
        plan.write(path)
        self._late_at = time.monotonic() + START_SECONDS
        with self._path("log").open("ab") as output:
            self._process = subprocess.Popen(
                [*LEASH, str(os.getpid()), *COMMAND, str(path)],
                env=_environment(self._settings, Path(plan.place)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def is_at_work(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def look(self) -> None:
        if self._process is None:
            return
        if self._path("ready").exists():
            self._announce(self._path("ready").read_text(encoding="utf-8"))
        elif time.monotonic() > self._late_at:
            self._give_up("it did not start in time")
        if self._process is not None and self._process.poll() not in (None, 0):
            self._give_up(f"it ended with code {self._process.returncode}")

    def end(self) -> None:
        self._path("ended").touch()

    def give_up_unfinished(self) -> None:
        if self.is_at_work:
            self._give_up("it did not finish in time")

    def kill(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            # The library has processes of its own; all are in one group.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _give_up(self, reason: str) -> None:
        log.warning("wandb.given_up", job=self._claim.job_id, reason=reason)
        self.kill()
        message = GIVEN_UP.format(number=self._number + 1)
        self._tell(Entry(f"wandb-lost:{self._number}", message, level="warn"))

    def _announce(self, url: str) -> None:
        if self._is_told or not url:
            return
        self._is_told = True
        self._tell(Entry(f"wandb:{self._number}", f"Weights & Biases run: {url}"))

    def _path(self, kind: str) -> Path:
        return self._folder.path / f"wandb-{self._number}.{kind}"

    def _plan(self) -> Plan:
        claim, settings = self._claim, self._settings
        asked: dict[str, Any] = claim.integrations[self._number]["wandb"]
        offline = settings.wandb_mode == "offline"
        place = settings.home / "wandb" if offline else self._folder.path / "wandb"
        return Plan(
            run_folder=str(self._folder.path),
            place=str(place),
            ready=str(self._path("ready")),
            ended=str(self._path("ended")),
            mode=settings.wandb_mode,
            id=f"{claim.job_id}-{self._number}",
            project=asked["project"],
            name=asked["name"] or claim.job_id,
            entity=asked["entity"],
            tags=asked["tags"],
            config={"model": claim.start_model or claim.base_model, "method": claim.method}
            | {"seed": claim.seed, "job": claim.job_id},
        )


def _environment(settings: Settings, place: Path) -> dict[str, str]:
    """The operator's key, no other account, and places that are ours."""
    given: Sequence[tuple[str, str | None]] = (
        ("WANDB_API_KEY", settings.wandb_api_key),
        ("WANDB_BASE_URL", settings.wandb_base_url),
        ("WANDB_CACHE_DIR", str(place)),
        ("WANDB_CONFIG_DIR", str(place)),
        ("WANDB_DATA_DIR", str(place)),
        ("WANDB_ERROR_REPORTING", "false"),
    )
    inherited = {name: os.environ[name] for name in ENVIRONMENT & os.environ.keys()}
    return inherited | {name: value for name, value in given if value is not None}
