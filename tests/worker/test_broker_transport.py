"""The workers' transport on a real broker."""

from typing import Any

import pytest
from kombu.asynchronous import Hub

from app.broker import make_celery
from worker.broker_transport import BUSY_INTERVAL_SECONDS, Transport


@pytest.mark.parametrize("is_busy", [True, False])
def test_a_busy_worker_looks_often_whether_it_may_take_messages(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    delays: list[float] = []
    hub: Any = Hub()
    celery: Any = make_celery(redis_url)
    with celery.connection_for_read(transport=Transport) as connection:
        channel = connection.default_channel
        connection.transport.register_with_event_loop(connection.connection, hub)
        monkeypatch.setattr(channel.qos, "can_consume", lambda: not is_busy)
        wake = None

        def call_later(delay: float, callback: Any) -> object:
            nonlocal wake
            delays.append(delay)
            wake = callback
            return callback

        monkeypatch.setattr(hub, "call_later", call_later)
        for _ in range(2):
            for callback in list(hub.on_tick):
                callback()
        assert delays == [BUSY_INTERVAL_SECONDS] * is_busy, "one at a time"
        if wake is not None:
            wake()
            for callback in list(hub.on_tick):
                callback()
        assert delays == [BUSY_INTERVAL_SECONDS] * 2 * is_busy


def test_a_closed_connection_is_not_looked_at(redis_url: str) -> None:
    """The worker's loop outlives its connections to the broker."""
    hub: Any = Hub()
    celery: Any = make_celery(redis_url)
    for _ in range(2):
        with celery.connection_for_read(transport=Transport) as connection:
            connection.transport.register_with_event_loop(connection.connect(), hub)
            assert count_own(hub) == 1
        assert count_own(hub) == 0


def count_own(hub: Any) -> int:
    """Count the callbacks of this transport among those of kombu's, which stay."""
    return sum(callback.__module__ == Transport.__module__ for callback in hub.on_tick)
