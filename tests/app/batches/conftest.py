"""Fixtures: the runner of work in a thread, beside the live API and its fake engine."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from openai import OpenAI
from openai.types import Batch

from app.db.session import SessionMaker
from app.operations.work_kinds import open_kinds
from app.work.runner import WorkRunner
from tests.live_api import Api
from tests.live_server import FakeEngine
from tests.polling import wait_until

ENDED = ("completed", "failed", "expired", "cancelled")
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


def make_line(number: int, content: str = "hi", **changes: Any) -> dict[str, Any]:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}]}
    line = {
        "custom_id": f"request-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }
    return line | changes


def to_jsonl(lines: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def create_batch(
    openai: OpenAI, content: bytes, endpoint: Any = "/v1/chat/completions", **options: Any
) -> Batch:
    file = openai.files.create(file=("requests.jsonl", content), purpose="batch")
    return openai.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", **options
    )


def wait_for_end(openai: OpenAI, batch_id: str) -> Batch:
    wait_until("the batch has ended", lambda: openai.batches.retrieve(batch_id).status in ENDED)
    return openai.batches.retrieve(batch_id)


def read_lines(openai: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    return [json.loads(line) for line in openai.files.content(file_id).text.splitlines()]
