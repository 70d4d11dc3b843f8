"""What bells set going. A bell may come twice, late or never; the work behind it bears that.

A message of another version is dropped: polling finds its work.
"""

from collections.abc import Callable
from typing import Any

from app.broker import MESSAGE_VERSION, task_name

# The app is Any because Celery ships no types.


def register_train(celery: Any, train: Callable[[], object]) -> None:
    """Train what is queued. Which job it was rung for does not matter."""

    @celery.task(name=task_name("train"))  # type: ignore[untyped-decorator]
    def _train(v: int, **_: object) -> None:
        if v == MESSAGE_VERSION:
            train()


def register_validate(celery: Any, validate: Callable[[str], object]) -> None:
    """Validate one job's files."""

    @celery.task(name=task_name("validate"))  # type: ignore[untyped-decorator]
    def _validate(v: int, job_id: str = "", **_: object) -> None:
        if v == MESSAGE_VERSION:
            validate(job_id)


def register_deliver(celery: Any, send_out: Callable[[], object]) -> None:
    """Have the webhooks that are due be delivered. Which job it was rung for does not matter."""

    @celery.task(name=task_name("deliver"))  # type: ignore[untyped-decorator]
    def _deliver(v: int, **_: object) -> None:
        if v == MESSAGE_VERSION:
            send_out()
