"""Redis transport of the workers that drops messages it cannot read, and reads on without delay.

kombu's own lets the exception end the worker, so one malformed entry in a queue would stop every
trainer and its trainings. Nothing is lost with such a message: messages only say that work waits.
It also looks once per second whether a worker that takes no messages, since all of its threads are
busy, may take them again: so long would a job wait that is created just after another has ended.
"""

from collections.abc import Set
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis

from app import logs

log = logs.get_logger(__name__)

# How often a worker that takes no messages looks whether it may again.
BUSY_INTERVAL_SECONDS = 0.05
# What decoding the envelope of a message, and reading its fields, may raise.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


class _QoS(redis.QoS):
    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Requeue a message that was not acknowledged; drop it if it cannot be read."""
        try:
            super().restore_by_tag(tag, client=client, leftmost=leftmost)  # type: ignore[no-untyped-call]
        except UNREADABLE as error:
            log.warning("broker.message_dropped", reason=type(error).__name__)
            with self.channel.conn_or_acquire(client) as connection:
                connection.hdel(self.unacked_key, tag)
                connection.zrem(self.unacked_index_key, tag)


class _Channel(redis.Channel):
    QoS = _QoS

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except UNREADABLE as error:
            log.warning("broker.message_dropped", reason=type(error).__name__)
            raise Empty from error


class Transport(redis.Transport):
    """kombu's transport with the channel above."""

    Channel = _Channel
    _loop: Any = None
    _timer: Any = None
    _tick_callbacks: Set[Any] = frozenset()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        before = set(loop.on_tick)
        super().register_with_event_loop(connection, loop)  # type: ignore[no-untyped-call]
        self._loop, self._tick_callbacks = loop, loop.on_tick - before

    def on_readable(self, fileno: int) -> None:  # type: ignore[override]
        """Read a message, and have the worker's loop go on soon while it may take no others.

        It asks for messages once a turn, if it may, and a turn ends when something happens, or
        after a second; the end of a task is nothing that it waits for. How long a turn may last is
        decided at its beginning, hence a timer now.
        """
        try:
            super().on_readable(fileno)  # type: ignore[no-untyped-call]
        finally:
            if self._timer is None:
                self._look_soon()

    def _look_soon(self) -> None:
        is_busy = not all(channel.qos.can_consume() for channel in self.channels or ())
        self._timer = (
            self._loop.call_later(BUSY_INTERVAL_SECONDS, self._look_soon) if is_busy else None
        )

    def close_connection(self, connection: Any) -> None:
        """Close it; the next connection has a transport of its own.

        kombu leaves its callback in the worker's loop, and with it this transport: one more to call
        each turn after each reconnect.
        """
        if self._timer is not None:
            self._timer.cancel()
        if self._loop is not None:
            self._loop.on_tick -= self._tick_callbacks
        super().close_connection(connection)  # type: ignore[no-untyped-call]


def install() -> None:
    """Make all Redis URLs of this process use this transport.

    Celery's `broker_transport` is not enough: kombu ignores it for URLs of Unix sockets.
    """
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
