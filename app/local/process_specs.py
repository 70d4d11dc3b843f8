"""Process specs of the service: engine, api, trainer, io and the demo."""

import os
import signal
import sys
from collections.abc import Iterable
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.catalog import CatalogModel
from app.local.processes import ProcessSpec
from app.settings import Settings

if TYPE_CHECKING:
    from app.operations.schemas import Readiness

ENGINE = "engine"
# Time for a trainer to write a checkpoint and release its job.
DRAIN_SECONDS = 30
# /readyz itself waits three seconds for a dependency that hangs.
READINESS_TIMEOUT_SECONDS = 8
CELERY_OPTIONS = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def stop_order(names: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """The stages in which processes stop: before their dependencies."""
    engines = (name for name in names if name.startswith(ENGINE))
    return (("demo",), ("api",), ("trainer",), (*engines, "io"), ("valkey",), ("postgres",))


def environment(settings: Settings) -> dict[str, str]:
    """The environment of child processes: this one, with these settings, so that all agree."""
    return (
        os.environ
        | settings.to_environment()
        | {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
    )


def engine_spec(settings: Settings) -> ProcessSpec:
    return ProcessSpec(
        name=ENGINE,
        command=(sys.executable, "-m", "worker.inference"),
        environment=environment(settings),
        log=log_path(settings, "engine"),
        is_ready=lambda: is_ok(f"{settings.engine_url}/health"),
    )


def managed_engine_spec(settings: Settings, model: CatalogModel, url: str) -> ProcessSpec:
    """Spec of the engine of another kind that serves one base model."""
    name = f"{ENGINE}-{model.id.replace('/', '--')}"
    return ProcessSpec(
        name=name,
        command=(sys.executable, "-m", "worker.managed_engine", model.id, url),
        environment=environment(settings),
        log=log_path(settings, name),
        is_ready=lambda: is_ok(f"{url}/health"),
        # Its workers are processes of their own, and hold the accelerator's memory.
        kill_group_on_exit=True,
        # Only its own base model is served by it.
        is_optional=True,
    )


def api_spec(settings: Settings) -> ProcessSpec:
    return ProcessSpec(
        name="api",
        command=(sys.executable, "-m", "app.api_process"),
        environment=environment(settings),
        log=log_path(settings, "api"),
        is_ready=lambda: is_ok(f"{api_url(settings)}/healthz"),
        # uvicorn gives open requests 20 seconds.
        stop_timeout_seconds=25,
    )


def trainer_spec(settings: Settings) -> ProcessSpec:
    return ProcessSpec(
        name="trainer",
        command=_celery_command("train", settings.trainer_concurrency),
        environment=environment(settings),
        log=log_path(settings, "trainer"),
        health_problem=lambda: trainer_health_problem(f"{api_url(settings)}/readyz"),
        stop_timeout_seconds=DRAIN_SECONDS,
    )


def io_spec(settings: Settings) -> ProcessSpec:
    return ProcessSpec(
        name="io",
        command=_celery_command("io", 4),
        environment=environment(settings),
        log=log_path(settings, "io"),
    )


def demo_spec(settings: Settings) -> ProcessSpec:
    """Spec of `luthier demo` in the terminal of `luthier up`; SIGINT lets it restore the screen."""
    return ProcessSpec(
        name="demo",
        command=(sys.executable, "-m", "app.cli", "demo"),
        environment=environment(settings),
        log=None,
        stop_signal=signal.SIGINT,
        stop_timeout_seconds=3,
        run_once=True,
    )


def api_url(settings: Settings) -> str:
    """The URL at which this machine reaches the API."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def log_path(settings: Settings, name: str) -> Path:
    return settings.home / "logs" / f"{name}.log"


def is_ok(url: str) -> bool:
    """True if an `http:` URL returns 200 within two seconds.

    It is asked ten times a second while processes start, and httpx would read all certificates.
    """
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=2)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == HTTPStatus.OK
    except (HTTPException, OSError):
        return False
    finally:
        connection.close()


def trainer_health_problem(url: str) -> str | None:
    """The problem with trainers that /readyz reports, if any.

    Also None while another dependency is unavailable, because /readyz then does not check trainers.
    """
    report = fetch_readiness(url, timeout_seconds=2)
    if report is None or "trainers" not in report.checks:
        return None
    return report.checks["trainers"].message


def problems_sentence(report: "Readiness") -> str | None:
    """The messages of failed checks as one string; None if all passed."""
    return " ".join(check.message for check in report.checks.values() if check.message) or None


def fetch_readiness(url: str, *, timeout_seconds: float) -> "Readiness | None":
    """Fetch the response of /readyz, ready or not; None if it does not answer in time."""
    # Not before they are needed: they import much, and `up` has yet to start the engine.
    import httpx
    from pydantic import ValidationError

    from app.operations.schemas import Readiness

    try:
        response = httpx.get(url, timeout=timeout_seconds, trust_env=False)
        return Readiness.model_validate_json(response.content)
    except (httpx.TransportError, ValidationError):
        return None


def _celery_command(queue: str, threads: int) -> tuple[str, ...]:
    options = (
        "-Q",
        queue,
        "-P",
        "threads",
        "-c",
        str(threads),
        "-n",
        f"{queue}@%h",
        *CELERY_OPTIONS,
    )
    return (sys.executable, "-m", "celery", "-A", "worker.main", "worker", *options)
