"""The workers' transport on a real broker."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kombu.asynchronous import Hub

from app.broker import make_celery
from worker.broker_transport import BUSY_INTERVAL_SECONDS, Transport

UNKNOWN_FILE = 10**6


@pytest.fixture
def worker(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A worker's loop, its connection, and whether it is busy: it may take no messages."""
    worker = SimpleNamespace(hub=Hub(), is_busy=True)
    celery: Any = make_celery(redis_url)
    with celery.connection_for_read(transport=Transport) as connection:
        qos = connection.default_channel.qos
        monkeypatch.setattr(qos, "can_consume", lambda: not worker.is_busy)
        worker.connection, worker.transport = connection, connection.transport
        worker.transport.register_with_event_loop(connection.connection, worker.hub)
        yield worker


def read(worker: SimpleNamespace) -> None:
    """Read what happened, here on a file that no channel has, and begin the next turn."""
    worker.transport.on_readable(UNKNOWN_FILE)


def find_length_of_turn(worker: SimpleNamespace) -> float:
    """Find how long the next turn of the loop lasts if nothing happens, in seconds."""
    return float(worker.hub.fire_timers())


def test_a_worker_looks_often_whether_it_may_take_messages_again(worker: SimpleNamespace) -> None:
    assert find_length_of_turn(worker) > BUSY_INTERVAL_SECONDS
    read(worker)
    read(worker)
    for _ in range(3):
        assert find_length_of_turn(worker) <= BUSY_INTERVAL_SECONDS
        time.sleep(BUSY_INTERVAL_SECONDS)
    worker.is_busy = False
    find_length_of_turn(worker)
    time.sleep(BUSY_INTERVAL_SECONDS)
    assert find_length_of_turn(worker) > BUSY_INTERVAL_SECONDS


def test_a_worker_that_takes_messages_waits_for_them(worker: SimpleNamespace) -> None:
    worker.is_busy = False
    read(worker)
    assert find_length_of_turn(worker) > BUSY_INTERVAL_SECONDS


def test_a_closed_connection_is_not_looked_at(worker: SimpleNamespace) -> None:
    """The worker's loop outlives its connections to the broker."""
    read(worker)
    assert worker.hub.on_tick
    worker.connection.close()
    time.sleep(BUSY_INTERVAL_SECONDS)
    assert find_length_of_turn(worker) > BUSY_INTERVAL_SECONDS
    assert not worker.hub.on_tick, "the loop calls a transport that is closed, each turn"
