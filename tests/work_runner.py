"""Fixtures: the runner of work in a thread, beside the live API and its fake engine."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from app.db.session import SessionMaker
from app.operations.work_kinds import open_kinds
from app.work.runner import WorkRunner
from tests.live_api import Api
from tests.live_server import FakeEngine

RunWork = Callable[[], AbstractContextManager[WorkRunner]]


@pytest.fixture
def run_work(api: Api, engine: FakeEngine, sessions: SessionMaker) -> RunWork:
    @contextmanager
    def run() -> Iterator[WorkRunner]:
        stopping = threading.Event()
        state = api.state
        runner = WorkRunner(
            sessions,
            lambda: open_kinds(state.settings, sessions, state.store, state.catalog),
            stopping=stopping,
            poll_interval_seconds=0.05,
        )
        thread = threading.Thread(target=runner.run)
        thread.start()
        try:
            yield runner
        finally:
            stopping.set()
            runner.wake()
            thread.join(60)
            assert not thread.is_alive()

    return run


@pytest.fixture
def runner(run_work: RunWork) -> Iterator[WorkRunner]:
    with run_work() as running:
        yield running
