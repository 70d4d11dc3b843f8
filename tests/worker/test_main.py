"""The worker processes as operators start them: Celery's own program, a broker, and no broker."""

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
from tests.worker.supervisor.fake_trainer import FAKE_TRAINING_COMMAND, JobFixture

ROOT = Path(__file__).resolve().parents[2]
# So long that work which starts within a test was not found by polling.
NEVER = 3600.0
# A broker may be busy, and these tests are about bells that are heard.
PATIENCE = 60.0
# Nothing listens there.
DEAD_BROKER = "redis://127.0.0.1:1/0"

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path, settings: Settings, sessions: SessionMaker) -> Iterator[Start]:
    """Starts a worker process for a queue; it ends with the test, and before its database does."""
    processes: list[subprocess.Popen[bytes]] = []

    def worker(queue: str, **changes: str | float) -> "subprocess.Popen[bytes]":
        values = {
            "LUTHIER_HOME": settings.home,
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "TRAINING_COMMAND": shlex.join(FAKE_TRAINING_COMMAND),
            "HEARTBEAT_SECONDS": 0.2,
            # By which Postgres names its connections.
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

    yield worker
    for process in processes:
        process.kill()
        process.wait()
    # Postgres ends what a killed process was doing a moment later.
    wait_until("its connections are gone", lambda: not connections(sessions, tmp_path.name))


def connections(sessions: SessionMaker, name: str) -> int:
    """How many there are of an application."""
    counted = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")
    with transaction(sessions) as session:
        return session.scalar(counted, {"name": name}) or 0


@pytest.fixture
def shop(sessions: SessionMaker, store: ObjectStore) -> JobFixture:
    return JobFixture(sessions=sessions, store=store)


def wait_for(shop: JobFixture, job_id: str, state: str) -> None:
    """Returns when the job is in a state, and fails if it has come to another end."""

    def has_come() -> bool:
        job = shop.get_job(job_id)
        assert job.state == state or job.state not in TERMINAL_STATES, job.error_message
        return job.state == state

    wait_until(f"{job_id} is {state}", has_come)


def trainings(job_id: str) -> list[Path]:
    """Processes that work in one of the job's run folders, dead ones not counted."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # A process may end between the two.
        with suppress(FileNotFoundError, ProcessLookupError):
            if job_id.encode() in path.read_bytes():
                found.append(path)
    return found


def wait_until_ready(log: Path) -> None:
    wait_until("the worker is ready", lambda: b" ready." in log.read_bytes())


def test_a_bell_runs_the_job(
    start: Start, shop: JobFixture, settings: Settings, tmp_path: Path
) -> None:
    start("train", POLL_SECONDS=NEVER)
    wait_until_ready(tmp_path / "train.log")
    job_id = shop.create_job()
    assert settings.redis_url is not None
    assert TaskNotifier(settings.redis_url, timeout_seconds=PATIENCE).notify("train", job_id)
    wait_for(shop, job_id, "succeeded")


def test_without_a_broker_the_job_runs_all_the_same(start: Start, shop: JobFixture) -> None:
    start("train", POLL_SECONDS=0.2, REDIS_URL=DEAD_BROKER)
    job_id = shop.create_job()
    wait_for(shop, job_id, "succeeded")


def test_a_bell_validates_a_new_job(
    start: Start, sessions: SessionMaker, shop: JobFixture, settings: Settings, tmp_path: Path
) -> None:
    start("io", POLL_SECONDS=NEVER)
    wait_until_ready(tmp_path / "io.log")
    assert settings.redis_url is not None
    outbox.notify_after_commit(
        sessions, TaskNotifier(settings.redis_url, timeout_seconds=PATIENCE).notify
    )
    with transaction(sessions) as session:
        job = make_job(session, state="validating_files")
        lifecycle.announce_created(session, job)
    wait_for(shop, job.id, "queued")


def test_without_a_broker_a_new_job_is_validated_all_the_same(
    start: Start, sessions: SessionMaker, shop: JobFixture
) -> None:
    start("io", POLL_SECONDS=0.2, REDIS_URL=DEAD_BROKER)
    with transaction(sessions) as session:
        job = make_job(session, state="validating_files")
        lifecycle.announce_created(session, job)
    wait_for(shop, job.id, "queued")


@pytest.mark.parametrize("broker", ["alive", "dead"])
def test_a_worker_that_is_told_to_end_gives_its_job_back(
    start: Start, shop: JobFixture, settings: Settings, broker: str
) -> None:
    redis_url = settings.redis_url if broker == "alive" else DEAD_BROKER
    worker = start("train", POLL_SECONDS=0.2, REDIS_URL=redis_url)
    job_id = shop.create_job(steps=8, every=100, ending="waits", at=3, until=1)
    wait_for(shop, job_id, "running")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    job = shop.get_job(job_id)
    assert (job.state, job.no_progress_attempts) == ("queued", 0)
    start("train", POLL_SECONDS=0.2)
    wait_for(shop, job_id, "succeeded")


def test_a_killed_worker_takes_its_training_with_it_and_another_goes_on(
    start: Start, shop: JobFixture, tmp_path: Path
) -> None:
    worker = start("train", POLL_SECONDS=0.2, LEASE_SECONDS=2)
    job_id = shop.create_job(steps=8, every=2, ending="waits", at=5, until=1)
    wait_for(shop, job_id, "running")
    worker.kill()
    wait_until("its training is gone", lambda: not trainings(job_id))
    start("io", POLL_SECONDS=0.2)
    start("train", POLL_SECONDS=0.2)
    wait_for(shop, job_id, "succeeded")
    assert shop.get_job(job_id).epoch > 1


def test_without_a_database_url_it_says_what_to_do(start: Start, tmp_path: Path) -> None:
    assert start("train", DATABASE_URL="").wait() != 0
    assert "Set DATABASE_URL" in (tmp_path / "train.log").read_text()
