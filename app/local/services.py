"""The processes of the service as command lines: engine, api, trainer, io, and the demo."""

import os
import signal
import sys
from pathlib import Path

import httpx
from pydantic import ValidationError

from app.local.processes import Program
from app.operations.schemas import Readiness
from app.settings import Settings

# From the first to the last to be stopped: nothing loses what it stands on before it has ended.
STOP_ORDER = (("demo",), ("api",), ("trainer",), ("engine", "io"), ("valkey",), ("postgres",))
# A trainer that is stopped writes a checkpoint and gives its job back within so long.
DRAIN_SECONDS = 30
# /readyz itself waits three seconds for a part that hangs.
PATIENCE_SECONDS = 8
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def environment(settings: Settings) -> dict[str, str]:
    """What children find in their environment: these very settings, so that all agree."""
    return (
        os.environ
        | settings.to_environment()
        | {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
    )


def engine(settings: Settings) -> Program:
    return Program(
        name="engine",
        command=(sys.executable, "-m", "worker.inference"),
        environment=environment(settings),
        log=log(settings, "engine"),
        ready=lambda: answers(f"{settings.engine_url}/health"),
    )


def api(settings: Settings) -> Program:
    return Program(
        name="api",
        command=(sys.executable, "-m", "app.cli", "api"),
        environment=environment(settings),
        log=log(settings, "api"),
        ready=lambda: answers(f"{url(settings)}/healthz"),
        # uvicorn gives open requests 20 seconds.
        stop_seconds=25,
    )


def trainer(settings: Settings) -> Program:
    return Program(
        name="trainer",
        command=_celery("train", settings.trainer_concurrency),
        environment=environment(settings),
        log=log(settings, "trainer"),
        trouble=lambda: trouble(f"{url(settings)}/readyz"),
        stop_seconds=DRAIN_SECONDS,
    )


def io(settings: Settings) -> Program:
    return Program(
        name="io",
        command=_celery("io", 4),
        environment=environment(settings),
        log=log(settings, "io"),
    )


def demo(settings: Settings) -> Program:
    """`luthier demo` on the terminal of `luthier up`; Ctrl-C makes it tidy the screen and end."""
    return Program(
        name="demo",
        command=(sys.executable, "-m", "app.cli", "demo"),
        environment=environment(settings),
        log=None,
        stop_signal=signal.SIGINT,
        stop_seconds=3,
        once=True,
    )


def url(settings: Settings) -> str:
    """Where this machine reaches the API."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def log(settings: Settings, name: str) -> Path:
    return settings.home / "logs" / f"{name}.log"


def answers(page: str) -> bool:
    """Whether a page answers 200 within two seconds."""
    try:
        return httpx.get(page, timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def trouble(page: str) -> str | None:
    """What /readyz says of trainers that take no jobs.

    None if they take jobs, and while /readyz does not look at them: it is then another part that
    cannot be used, of which this is not told.
    """
    told = readiness(page, seconds=2)
    if told is None or "trainers" not in told.checks:
        return None
    return told.checks["trainers"].message


def sentences(told: Readiness) -> str | None:
    """What is wrong with the parts, if anything is."""
    return " ".join(check.message for check in told.checks.values() if check.message) or None


def readiness(page: str, *, seconds: float) -> Readiness | None:
    """What /readyz answers, ready or not, if it does in time."""
    try:
        answer = httpx.get(page, timeout=seconds, trust_env=False)
        return Readiness.model_validate_json(answer.content)
    except (httpx.TransportError, ValidationError):
        return None


def _celery(queue: str, threads: int) -> tuple[str, ...]:
    options = ("-Q", queue, "-P", "threads", "-c", str(threads), "-n", f"{queue}@%h", *QUIET)
    return (sys.executable, "-m", "celery", "-A", "worker.main", "worker", *options)
