"""Periodic tasks of all processes: their names, and the time of each one's last success.

These rows are the only early sign that a task has stopped running; `luthier doctor` and /metrics
read them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.session import SessionMaker, transaction
from app.db.tables import PeriodicTaskRun

# A task is late after this many missed runs, plus the time that a run may take.
MAX_MISSED_RUNS = 3
MAX_RUN_SECONDS = 60


class TaskName(StrEnum):
    """Names of the periodic tasks, as `luthier doctor` and /metrics show them."""

    # Run by the reconciler.
    VALIDATE_JOBS = "validate_jobs"
    ADVANCE_SWEEPS = "advance_sweeps"
    ADVANCE_EVALUATIONS = "advance_evaluations"
    EXPIRE_LEASES = "expire_leases"
    EXPIRE_WORK = "expire_work"
    CHARGE_ATTEMPTS = "charge_attempts"
    RENOTIFY_QUEUED_JOBS = "renotify_queued_jobs"
    REQUEST_YIELDS = "request_yields"
    EXPIRE_FILES = "expire_files"
    EXPIRE_UPLOADS = "expire_uploads"
    DELETE_UPLOAD_PARTS = "delete_upload_parts"
    MERGE_STORAGE_USAGE = "merge_storage_usage"
    RECOUNT_STORAGE_USAGE = "recount_storage_usage"
    PRUNE_OUTBOX = "prune_outbox"
    PRUNE_IDEMPOTENCY_KEYS = "prune_idempotency_keys"
    PRUNE_WEBHOOK_DELIVERIES = "prune_webhook_deliveries"
    PRUNE_MODEL_TRAFFIC = "prune_model_traffic"
    PRUNE_CHANGES = "prune_changes"
    PRUNE_TRAINERS = "prune_trainers"
    # Run by the io worker.
    DELIVER_WEBHOOKS = "deliver_webhooks"
    DISPATCH_OUTBOX = "dispatch_outbox"
    DELETE_UNFINISHED_UPLOADS = "delete_unfinished_uploads"
    APPLY_RETENTION = "apply_retention"
    DELETE_ORPHANED_OBJECTS = "delete_orphaned_objects"
    # Run by the operator.
    BACKUP = "backup"
    # Run by the trainer.
    DELETE_STALE_RUN_FOLDERS = "delete_stale_run_folders"


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """The last success of a task, by the database's clock."""

    name: str
    last_succeeded_at: datetime
    interval_seconds: float
    age: timedelta

    @property
    def is_late(self) -> bool:
        limit = MAX_MISSED_RUNS * self.interval_seconds + MAX_RUN_SECONDS
        return self.age.total_seconds() > limit


def record_success(session: Session, intervals: Mapping[str, float]) -> None:
    """Record that tasks succeeded just now; `intervals` has the seconds between runs by name."""
    # Sorted, since two processes that lock the rows in different orders could deadlock.
    rows = [
        {"name": name, "interval_seconds": seconds, "last_succeeded_at": func.clock_timestamp()}
        for name, seconds in sorted(intervals.items())
    ]
    if not rows:
        return
    statement = insert(PeriodicTaskRun).values(rows)
    changes = {
        "interval_seconds": statement.excluded.interval_seconds,
        "last_succeeded_at": statement.excluded.last_succeeded_at,
    }
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changes))


def record_on_success(
    sessions: SessionMaker, name: str, interval_seconds: float, work: Callable[[], object]
) -> Callable[[], None]:
    """Wrap `work` so that each success is recorded."""

    def run() -> None:
        work()
        with transaction(sessions) as session:
            record_success(session, {name: interval_seconds})

    return run


def list_task_statuses(session: Session) -> list[TaskStatus]:
    """List all tasks that have ever succeeded, by name."""
    rows = session.execute(
        select(
            PeriodicTaskRun.name,
            PeriodicTaskRun.last_succeeded_at,
            PeriodicTaskRun.interval_seconds,
            func.clock_timestamp() - PeriodicTaskRun.last_succeeded_at,
        ).order_by(PeriodicTaskRun.name)
    )
    return [TaskStatus(*row) for row in rows]
