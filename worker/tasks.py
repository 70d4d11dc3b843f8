"""Celery tasks. A notification may arrive twice, late or never; its work tolerates that.

A notification of another version is dropped: polling finds its work.
"""

from collections.abc import Callable
from typing import Any

from app.broker import MESSAGE_VERSION, task_name
from app.db.tables import WorkerTask

# `celery` is Any because Celery ships no types.


def register_train(celery: Any, train: Callable[[], object]) -> None:
    """Register the task that trains queued jobs, whichever job the notification names."""

    @celery.task(name=task_name(WorkerTask.TRAIN))  # type: ignore[untyped-decorator]
    def _train(v: int, **_: object) -> None:
        if v == MESSAGE_VERSION:
            train()


def register_validate(celery: Any, validate: Callable[[], object]) -> None:
    """Register the task that validates the next job's files, whichever the notification names."""

    @celery.task(name=task_name(WorkerTask.VALIDATE))  # type: ignore[untyped-decorator]
    def _validate(v: int, **_: object) -> None:
        if v == MESSAGE_VERSION:
            validate()


def register_deliver(celery: Any, deliver: Callable[[], object]) -> None:
    """Register the task that delivers due webhooks, whichever job the notification names."""

    @celery.task(name=task_name(WorkerTask.DELIVER))  # type: ignore[untyped-decorator]
    def _deliver(v: int, **_: object) -> None:
        if v == MESSAGE_VERSION:
            deliver()


def register_work(celery: Any, wake: Callable[[], object]) -> None:
    """Register the task that wakes the runner of work, whichever list the notification names."""

    @celery.task(name=task_name(WorkerTask.WORK))  # type: ignore[untyped-decorator]
    def _work(v: int, **_: object) -> None:
        if v == MESSAGE_VERSION:
            wake()
