"""A trainer with a real database, storage and subprocesses, but fake training."""

import threading
from collections.abc import Callable, Iterator

import pytest

from app.catalog import Catalog
from app.db.session import SessionMaker
from app.settings import Settings
from app.storage import ObjectStore
from tests.worker.supervisor.fake_trainer import (
    FAKE_EVALUATION_COMMAND,
    FAKE_TRAINING_COMMAND,
    RunInBackground,
    TrainerFixture,
)
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.job_runner import JobRunner


@pytest.fixture
def context(
    settings: Settings, sessions: SessionMaker, store: ObjectStore, catalog: Catalog
) -> TrainerContext:
    quick = settings.model_copy(update={"heartbeat_interval_seconds": 0.2})
    return TrainerContext(
        settings=quick,
        sessions=sessions,
        store=store,
        catalog=catalog,
        stopping=threading.Event(),
        command=FAKE_TRAINING_COMMAND,
        evaluation_command=FAKE_EVALUATION_COMMAND,
    )


@pytest.fixture
def trainer(context: TrainerContext) -> TrainerFixture:
    return TrainerFixture(
        sessions=context.sessions,
        store=context.store,
        context=context,
        runner=JobRunner(context),
    )


@pytest.fixture
def run_in_background(context: TrainerContext) -> Iterator[RunInBackground]:
    """Run functions in threads, which end with the test."""
    threads: list[threading.Thread] = []

    def start(work: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=work)
        threads.append(thread)
        thread.start()
        return thread

    yield start
    context.stopping.set()
    for thread in threads:
        thread.join(timeout=240)
