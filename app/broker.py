"""Celery app and task notifications. Messages say that work is waiting, and never contain it.

Losing, repeating or delaying any message costs latency only, since workers also poll. Each setting
that is not Celery's default is here because the default trains twice, loses work or hangs.
"""

import time
from typing import Any

from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import OperationalError

from app import logs

log = logs.get_logger(__name__)

TRAIN_QUEUE = "train"
IO_QUEUE = "io"
QUEUE_BY_TASK = {
    "train": TRAIN_QUEUE,
    "validate": IO_QUEUE,
    "deliver": IO_QUEUE,
    "work": IO_QUEUE,
}
# Version of the message format; workers drop other versions, since polling finds the work anyway.
MESSAGE_VERSION = 1
# An older notification is useless: polling has found the work long ago.
MESSAGE_EXPIRY_SECONDS = 3600
# Circuit breaker: after a failed notification none is attempted for this long, so that a broker
# that is down delays one request and not each.
COOLDOWN_SECONDS = 2.0
# For each response of the broker during a notification.
RESPONSE_TIMEOUT_SECONDS = 0.2
# Longer, since no request waits for a health check, and a broker that is only busy is usable.
CHECK_TIMEOUT_SECONDS = 1.0


class BrokerUnavailable(Exception):
    """The broker is unreachable; the message is a sentence for the operator."""


def task_name(task: str) -> str:
    """Return the Celery name of a task."""
    return f"worker.tasks.{task}"


# Any: Celery ships no types.
def make_celery(redis_url: str | None = None) -> Any:
    """Create the app that workers run. Without a URL, set one later, in `conf.broker_url`."""
    celery = Celery("luthier", broker=broker_url(redis_url), set_as_current=False)
    celery.conf.update(
        result_backend=None,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        # Acknowledged early: a message acknowledged late is redelivered after an hour of training,
        # and the job would be trained twice.
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        task_time_limit=None,
        task_soft_time_limit=None,
        broker_connection_retry_on_startup=True,
        broker_connection_retry=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        broker_connection_timeout=4,
        broker_pool_limit=4,
        broker_transport_options=_transport_options(connect_timeout=5, response_timeout=30),
        visibility_timeout=3600,
        task_default_queue=IO_QUEUE,
        # kombu's annotations are partial.
        task_queues=[Queue(name) for name in (TRAIN_QUEUE, IO_QUEUE)],  # type: ignore[no-untyped-call]
        task_create_missing_queues=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        task_send_sent_event=False,
        worker_soft_shutdown_timeout=0,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        enable_utc=True,
        timezone="UTC",
    )
    return celery


def broker_url(redis_url: str | None) -> str | None:
    """Translate a Redis URL for kombu, which calls a Unix socket `redis+socket://`, not `unix://`."""
    if redis_url is not None and redis_url.startswith("unix://"):
        return "redis+socket://" + redis_url.removeprefix("unix://")
    return redis_url


def _transport_options(*, connect_timeout: float, response_timeout: float) -> dict[str, Any]:
    return {
        "visibility_timeout": 3600,
        "socket_timeout": response_timeout,
        "socket_connect_timeout": connect_timeout,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "retry_on_timeout": True,
        "global_keyprefix": "luthier:",
        "fanout_prefix": True,
        "fanout_patterns": True,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
    }


class TaskNotifier:
    """Sender of task notifications for a process that must not wait for the broker. Thread-safe."""

    def __init__(
        self,
        redis_url: str,
        *,
        timeout_seconds: float = RESPONSE_TIMEOUT_SECONDS,
        cooldown_seconds: float = COOLDOWN_SECONDS,
    ) -> None:
        self._cooldown_seconds = cooldown_seconds
        self._celery = make_celery(redis_url)
        self._celery.conf.update(
            broker_connection_timeout=timeout_seconds,
            broker_pool_limit=10,
            broker_transport_options=_transport_options(
                connect_timeout=timeout_seconds, response_timeout=timeout_seconds
            )
            | {"retry_on_timeout": False, "max_retries": 1, "interval_start": 0},
            task_publish_retry=True,
            task_publish_retry_policy={"max_retries": 1, "interval_start": 0},
        )
        self._unavailable_until = 0.0

    def notify(self, task: str, job_id: str) -> bool:
        """Notify workers that `task`, a key of QUEUE_BY_TASK, has work; false if that failed.

        Takes at most half a second and never raises, since the notification is in the outbox too.
        """
        if time.monotonic() < self._unavailable_until:
            return False
        try:
            self._celery.send_task(
                task_name(task),
                kwargs={"v": MESSAGE_VERSION, "job_id": job_id},
                queue=QUEUE_BY_TASK[task],
                expires=MESSAGE_EXPIRY_SECONDS,
            )
        except OperationalError as error:
            self._unavailable_until = time.monotonic() + self._cooldown_seconds
            log.warning("broker.unreachable", reason=str(error))
            return False
        except Exception:
            # The work is committed, so the client must not get an error. kombu has such errors: an
            # AttributeError if a connection is closed while it is being established.
            self._unavailable_until = time.monotonic() + self._cooldown_seconds
            log.exception("broker.notify_failed")
            return False
        return True

    def check(self) -> None:
        """Raise BrokerUnavailable if the broker does not respond."""
        try:
            with self._celery.connection_for_write(
                connect_timeout=CHECK_TIMEOUT_SECONDS,
                transport_options={
                    "socket_connect_timeout": CHECK_TIMEOUT_SECONDS,
                    "socket_timeout": CHECK_TIMEOUT_SECONDS,
                },
            ) as connection:
                connection.ensure_connection(max_retries=1, interval_start=0)
                connection.default_channel.client.ping()
        except OperationalError as error:
            raise BrokerUnavailable(f"The broker cannot be reached: {error}") from error
