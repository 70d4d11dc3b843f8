"""The Celery worker processes, with and without a broker."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from app.broker import TaskNotifier
from app.db import outbox
from app.db.session import SessionMaker, transaction
from app.db.tables import TERMINAL_STATES
from app.jobs import lifecycle
from app.settings import Settings
from app.storage import ObjectStore
from tests.factories import make_job
from tests.polling import wait_until
from tests.worker.inference.native.test_build import COPY_SOURCE
from tests.worker.supervisor.fake_trainer import FAKE_TRAINING_COMMAND, JobFixture
from worker.inference.native import build
from worker.supervisor import run_folders

ROOT = Path(__file__).resolve().parents[2]
# So long that work which starts within a test was not found by polling.
NEVER = 3600.0
# Generous, since these tests need delivered notifications even on a busy machine.
NOTIFY_TIMEOUT_SECONDS = 60.0
# Nothing listens there.
DEAD_BROKER = "redis://127.0.0.1:1/0"

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path, settings: Settings, sessions: SessionMaker) -> Iterator[Start]:
    """Start worker processes for queues; they end before the test's database does."""
    processes: list[subprocess.Popen[bytes]] = []

    def start_worker(queue: str, **changes: str | float) -> "subprocess.Popen[bytes]":
        values = {
            "LUTHIER_HOME": settings.home,
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "LUTHIER_TRAINING_COMMAND": shlex.join(FAKE_TRAINING_COMMAND),
            "LUTHIER_HEARTBEAT_INTERVAL_SECONDS": 0.2,
            # Shown in pg_stat_activity.
            "PGAPPNAME": tmp_path.name,
        }
        environment = {name: str(value) for name, value in (values | changes).items()}
        command = [sys.executable, "-m", "celery", "-A", "worker.main", "worker", "-P", "threads"]
        flags = ["-c", "1", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        with (tmp_path / f"{queue}.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, *flags, "-Q", queue, "-n", f"{queue}@{tmp_path.name}"],
                cwd=ROOT,
                env=os.environ | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        processes.append(process)
        return process

    yield start_worker
    for process in processes:
        process.kill()
        process.wait()
    # Postgres notices a killed client only a moment later.
    wait_until("its connections are gone", lambda: not count_connections(sessions, tmp_path.name))


def count_connections(sessions: SessionMaker, name: str) -> int:
    """Count the database connections of an application."""
    query = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")
    with transaction(sessions) as session:
        return session.scalar(query, {"name": name}) or 0


@pytest.fixture
def jobs(sessions: SessionMaker, store: ObjectStore) -> JobFixture:
    return JobFixture(sessions=sessions, store=store)


def wait_for(jobs: JobFixture, job_id: str, state: str) -> None:
    """Wait until the job is in a state; fail if it reaches another terminal state."""

    def is_reached() -> bool:
        job = jobs.get_job(job_id)
        assert job.state == state or job.state not in TERMINAL_STATES, job.error_message
        return job.state == state

    wait_until(f"{job_id} is {state}", is_reached)


def training_processes(job_id: str) -> list[Path]:
    """The live processes of the job's run folders."""
    processes = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # A process may end in the meantime.
        with suppress(FileNotFoundError, ProcessLookupError):
            if job_id.encode() in path.read_bytes():
                processes.append(path)
    return processes


def wait_until_ready(log: Path) -> None:
    wait_until("the worker is ready", lambda: b" ready." in log.read_bytes())


def test_a_notification_runs_the_job(
    start: Start, jobs: JobFixture, settings: Settings, tmp_path: Path
) -> None:
    start("train", LUTHIER_POLL_INTERVAL_SECONDS=NEVER)
    wait_until_ready(tmp_path / "train.log")
    job_id = jobs.create_job()
    assert settings.redis_url is not None
    assert TaskNotifier(settings.redis_url, timeout_seconds=NOTIFY_TIMEOUT_SECONDS).notify(
        "train", job_id
    )
    wait_for(jobs, job_id, "succeeded")


def test_without_a_broker_the_job_runs_by_polling(start: Start, jobs: JobFixture) -> None:
    start("train", LUTHIER_POLL_INTERVAL_SECONDS=0.2, REDIS_URL=DEAD_BROKER)
    job_id = jobs.create_job()
    wait_for(jobs, job_id, "succeeded")


def test_a_notification_validates_a_new_job(
    start: Start, sessions: SessionMaker, jobs: JobFixture, settings: Settings, tmp_path: Path
) -> None:
    start("io", LUTHIER_POLL_INTERVAL_SECONDS=NEVER)
    wait_until_ready(tmp_path / "io.log")
    assert settings.redis_url is not None
    outbox.notify_after_commit(
        sessions, TaskNotifier(settings.redis_url, timeout_seconds=NOTIFY_TIMEOUT_SECONDS).notify
    )
    with transaction(sessions) as session:
        job = make_job(session, state="validating_files")
        lifecycle.announce_created(session, job)
    wait_for(jobs, job.id, "queued")


def test_without_a_broker_a_new_job_is_validated_by_polling(
    start: Start, sessions: SessionMaker, jobs: JobFixture
) -> None:
    start("io", LUTHIER_POLL_INTERVAL_SECONDS=0.2, REDIS_URL=DEAD_BROKER)
    with transaction(sessions) as session:
        job = make_job(session, state="validating_files")
        lifecycle.announce_created(session, job)
    wait_for(jobs, job.id, "queued")


@pytest.mark.parametrize("broker", ["alive", "dead"])
def test_a_terminated_trainer_requeues_its_job(
    start: Start, jobs: JobFixture, settings: Settings, broker: str
) -> None:
    redis_url = settings.redis_url if broker == "alive" else DEAD_BROKER
    process = start("train", LUTHIER_POLL_INTERVAL_SECONDS=0.2, REDIS_URL=redis_url)
    job_id = jobs.create_job(steps=8, every=100, fault="wait", at_step=3, until_attempt=1)
    wait_for(jobs, job_id, "running")
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    job = jobs.get_job(job_id)
    assert (job.state, job.no_progress_attempts) == ("queued", 0)
    start("train", LUTHIER_POLL_INTERVAL_SECONDS=0.2)
    wait_for(jobs, job_id, "succeeded")


def test_a_killed_trainer_takes_its_training_along_and_another_resumes(
    start: Start, jobs: JobFixture, tmp_path: Path
) -> None:
    process = start("train", LUTHIER_POLL_INTERVAL_SECONDS=0.2, LUTHIER_LEASE_SECONDS=2)
    job_id = jobs.create_job(steps=8, every=2, fault="wait", at_step=5, until_attempt=1)
    wait_for(jobs, job_id, "running")
    process.kill()
    wait_until("its training is gone", lambda: not training_processes(job_id))
    start("io", LUTHIER_POLL_INTERVAL_SECONDS=0.2)
    start("train", LUTHIER_POLL_INTERVAL_SECONDS=0.2)
    wait_for(jobs, job_id, "succeeded")
    assert jobs.get_job(job_id).attempt > 1


def use_compiler(folder: Path, script: str) -> dict[str, str]:
    """Write a C compiler; return the settings of a trainer that compiles with it."""
    compiler = folder / "cc"
    folder.mkdir()
    compiler.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    compiler.chmod(0o700)
    return {
        "LUTHIER_TRAINING_COMMAND": "",
        "LUTHIER_TRAINING_FORK_SERVER": "false",
        "PATH": f"{folder}:{os.environ['PATH']}",
    }


def test_a_trainer_compiles_kernels_before_its_first_job(
    start: Start, settings: Settings, tmp_path: Path
) -> None:
    start("train", **use_compiler(tmp_path / "bin", COPY_SOURCE))
    folder = build.get_kernels_folder(run_folders.get_model_cache(settings))
    names = {build.name_library(dtype, build.detect_level()) for dtype in build.DTYPES}
    wait_until(
        "all are compiled",
        lambda: folder.exists() and names <= {path.name for path in folder.iterdir()},
    )


def test_a_stopped_trainer_does_not_wait_for_a_compiler(
    start: Start, settings: Settings, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    process = start(
        "train", **use_compiler(tmp_path / "bin", f"echo $$ >> {started}; exec sleep 600")
    )
    wait_until("it compiles", lambda: started.exists() and started.read_text().endswith("\n"))
    wait_until_ready(tmp_path / "train.log")
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    (compiler,) = started.read_text().split()
    # A trainer that waits kills it in the end, and compiles for the other type.
    os.kill(int(compiler), signal.SIGKILL)
    assert not list(build.get_kernels_folder(run_folders.get_model_cache(settings)).glob("*.so"))


def test_a_missing_database_url_is_explained(start: Start, tmp_path: Path) -> None:
    assert start("train", DATABASE_URL="").wait() != 0
    assert "Set DATABASE_URL" in (tmp_path / "train.log").read_text()


def test_no_progress_bars_are_written_to_logs() -> None:
    """Such as that of a GGUF file's conversion, which no option of transformers switches off."""
    program = "import worker; from tqdm.auto import tqdm; list(tqdm([1], desc='bar'))"
    environment = {name: os.environ[name] for name in os.environ.keys() - {"TQDM_DISABLE"}}
    shown = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stderr == ""
