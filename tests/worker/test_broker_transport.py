"""The workers' transport on a real broker."""

from typing import Any

import pytest
from kombu.transport import redis

from app.broker import make_celery
from worker.broker_transport import BUSY_INTERVAL_SECONDS, Transport


@pytest.mark.parametrize("is_busy", [True, False])
def test_a_busy_worker_looks_often_whether_it_may_take_messages(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    waits: list[float] = []

    def drain(_self: object, _connection: object, timeout: float) -> None:
        waits.append(timeout)

    monkeypatch.setattr(redis.Transport, "drain_events", drain, raising=False)
    celery: Any = make_celery(redis_url)
    with celery.connection_for_read(transport=Transport) as connection:
        channel = connection.default_channel
        monkeypatch.setattr(channel.qos, "can_consume", lambda: not is_busy)
        connection.drain_events(timeout=2)
    assert waits == [BUSY_INTERVAL_SECONDS if is_busy else 2]
