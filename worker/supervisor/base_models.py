"""Base models of jobs: put into the cache before training, which can only read it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from app import logs
from app.catalog import CatalogModel
from app.jobs.failures import JobFailure
from app.settings import Settings
from worker.bucket_models import fetch_from_bucket
from worker.model_cache import FetchStopped, ModelUnavailable, is_cached, needs_cache
from worker.run_folder import ExitCode
from worker.supervisor.run_folders import UnusableJob
from worker.supervisor.training_process import EXEC_WITH_PARENT, inherit_environment

log = logs.get_logger(__name__)

MATERIALIZE_COMMAND = (sys.executable, "-m", "worker.training.materialize")
POLL_INTERVAL_SECONDS = 0.2
# Key of a model hub, for models that need one.
HUB_KEY = "HF_TOKEN"


class MaterializeFailed(Exception):
    """The process that puts a base model into the cache ended unexpectedly, or took too long."""


def ensure_cached(
    model: CatalogModel,
    cache: Path,
    *,
    settings: Settings,
    should_stop: Callable[[], bool],
    timeout_seconds: float,
) -> None:
    """Download or convert a model that the cache lacks, unless a stop is requested.

    Raises UnusableJob for a model that is not available, and MaterializeFailed.
    """
    if not needs_cache(model) or is_cached(model, cache):
        return
    deadline = time.monotonic() + timeout_seconds

    def must_stop() -> bool:
        return should_stop() or time.monotonic() > deadline

    try:
        fetch_from_bucket(model, cache, settings, must_stop)
        _materialize(model, cache, must_stop)
    except ModelUnavailable as error:
        raise UnusableJob(JobFailure("model_unavailable", str(error), "model")) from error
    except FetchStopped:
        if not should_stop():
            raise MaterializeFailed(
                f"The base model did not arrive in {timeout_seconds:.0f} s"
            ) from None


def _materialize(model: CatalogModel, cache: Path, must_stop: Callable[[], bool]) -> None:
    """Download or convert in a process of its own. Raises FetchStopped."""
    environment = inherit_environment()
    if HUB_KEY in os.environ:
        environment[HUB_KEY] = os.environ[HUB_KEY]
    arguments = (json.dumps(model.to_json()), str(cache))
    process = subprocess.Popen(
        [*EXEC_WITH_PARENT, str(os.getpid()), *MATERIALIZE_COMMAND, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with process:
        while process.poll() is None:
            if must_stop():
                process.kill()
                process.wait()
                raise FetchStopped
            time.sleep(POLL_INTERVAL_SECONDS)
        _check(process)


def _check(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdout is not None
    message = process.stdout.read().decode(errors="replace")
    log.info("base_model.materialized", exit_code=process.returncode)
    if process.returncode == ExitCode.USER_ERROR:
        raise UnusableJob(JobFailure("model_unavailable", message, "model"))
    if process.returncode != ExitCode.DONE:
        raise MaterializeFailed(f"The base model could not be prepared ({process.returncode})")
