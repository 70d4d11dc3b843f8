"""A trainer for tests: real database, store and processes, and fake trainings."""

import threading
from collections.abc import Callable, Iterator

import pytest

from app.catalog import Catalog
from app.db.session import SessionMaker
from app.settings import Settings
from app.storage import ObjectStore
from tests.worker.supervisor.fake_trainer import (
    FAKE_TRAINING_COMMAND,
    RunInBackground,
    TrainerFixture,
)
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.job_runner import JobRunner


@pytest.fixture
def machine(
    settings: Settings, sessions: SessionMaker, store: ObjectStore, catalog: Catalog
) -> TrainerContext:
    quick = settings.model_copy(update={"heartbeat_seconds": 0.2})
    return TrainerContext(
        settings=quick,
        sessions=sessions,
        store=store,
        catalog=catalog,
        stopping=threading.Event(),
        command=FAKE_TRAINING_COMMAND,
    )


@pytest.fixture
def shop(machine: TrainerContext) -> TrainerFixture:
    return TrainerFixture(
        sessions=machine.sessions,
        store=machine.store,
        context=machine,
        runner=JobRunner(machine),
    )


@pytest.fixture
def background(machine: TrainerContext) -> Iterator[RunInBackground]:
    """Runs something beside the test, which ends it if the test has not."""
    threads: list[threading.Thread] = []

    def start(work: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=work)
        threads.append(thread)
        thread.start()
        return thread

    yield start
    machine.stopping.set()
    for thread in threads:
        thread.join(timeout=240)
