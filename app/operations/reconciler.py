"""Leader-elected recovery: finds lost work and deletes expired data.

Any number of processes may run a `Reconciler`; a Postgres advisory lock elects the leader.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app import logs
from app.catalog import GENERATIVE_METHODS
from app.changes import change_log
from app.db import clock, outbox
from app.db.session import DatabaseUnavailable, SessionMaker, TransactionWork, transaction
from app.db.tables import File, Job, JobState, Outbox, OutboxKind, WorkerTask, WorkStop
from app.evals import attached
from app.files import quota, service, uploads
from app.http import idempotency
from app.jobs import (
    lease_expiry,
    lifecycle,
    scheduling,
    time_slices,
    trainers,
    validation_errors,
    validation_queue,
)
from app.jobs.job_rules import JobRules
from app.monitoring import traffic
from app.operations import periodic_task_runs
from app.operations.leader_election import acquire_leader_lock
from app.operations.periodic_task_runs import TaskName
from app.sweeps import advance
from app.webhooks import deliveries
from app.work import lists

log = logs.get_logger(__name__)

# By then a notification has been received, or was lost.
RENOTIFY_AFTER_SECONDS = 30
# A worker that was notified of a new job has this long before the reconciler validates its files.
REVALIDATE_AFTER_SECONDS = 1
# An engine renders the rows of chat jobs, a few jobs at a time, which the reconciler does not do:
# its validation, without the rows, is for jobs that none of these workers takes up.
REVALIDATE_WITHOUT_ROWS_AFTER_SECONDS = 120
DONE_RETENTION_SECONDS = 300
NOTIFICATION_RETENTION_SECONDS = 3600
REQUEST_YIELDS_INTERVAL_SECONDS = 5
EVALUATIONS_SECONDS = 2
BATCH_SIZE = 100


@dataclass(slots=True)
class PeriodicTask:
    """A task of the reconciler; `due_at` is by the monotonic clock."""

    name: str
    interval_seconds: float
    run: Callable[[SessionMaker], object]
    due_at: float = 0.0


def build_tasks(
    *,
    slice_seconds: float = 0,
    max_running: int = 0,
    idempotency_hours: float = 24,
    job_rules: JobRules | None = None,
    advance_evaluations: Callable[[Session, str], object] | None = None,
) -> list[PeriodicTask]:
    """Build all tasks, due at once; without `job_rules`, all but that which creates jobs.

    `advance_evaluations` is done for each job whose evaluations have not ended.

    `slice_seconds` is the trainers' time slice, and `max_running` the quota of projects without one
    of their own; 0 is unlimited. Responses to repeat are kept for `idempotency_hours`.
    """
    creations = [] if job_rules is None else [_build_sweeps_task(job_rules)]
    if advance_evaluations is not None:
        # One comparison takes seconds for thousands of items: other tasks come before the next.
        evaluate = build_per_job_task(
            attached.find_due,
            advance_evaluations,
            on_error=attached.mark_checked,
            is_enough=lambda compared: compared is True,
        )
        creations.append(PeriodicTask(TaskName.ADVANCE_EVALUATIONS, EVALUATIONS_SECONDS, evaluate))
    return [
        PeriodicTask(
            TaskName.REQUEST_YIELDS,
            REQUEST_YIELDS_INTERVAL_SECONDS,
            build_single_transaction_task(
                lambda session: time_slices.request_yields(
                    session, slice_seconds=slice_seconds, max_running=max_running
                )
            ),
        ),
        PeriodicTask(
            TaskName.VALIDATE_JOBS,
            0,
            build_per_job_task(
                find_unvalidated, lifecycle.validate, on_error=validation_errors.record
            ),
        ),
        PeriodicTask(
            TaskName.EXPIRE_LEASES,
            5,
            build_per_job_task(lease_expiry.find_expired_leases, lease_expiry.expire_lease),
        ),
        PeriodicTask(TaskName.EXPIRE_WORK, 5, build_per_job_task(lists.find_expired, expire_work)),
        PeriodicTask(
            TaskName.CHARGE_ATTEMPTS,
            30,
            build_per_job_task(find_uncharged, scheduling.charge_attempts),
        ),
        PeriodicTask(TaskName.RENOTIFY_QUEUED_JOBS, 30, build_single_transaction_task(renotify)),
        PeriodicTask(TaskName.EXPIRE_FILES, 60, build_single_transaction_task(expire_files)),
        PeriodicTask(TaskName.EXPIRE_UPLOADS, 60, build_single_transaction_task(uploads.expire)),
        PeriodicTask(
            TaskName.DELETE_UPLOAD_PARTS, 30, build_single_transaction_task(uploads.remove_parts)
        ),
        PeriodicTask(
            TaskName.RECOUNT_STORAGE_USAGE, 3600, build_single_transaction_task(quota.recount)
        ),
        PeriodicTask(TaskName.MERGE_STORAGE_USAGE, 30, build_single_transaction_task(quota.merge)),
        PeriodicTask(TaskName.PRUNE_OUTBOX, 60, build_single_transaction_task(prune_outbox)),
        PeriodicTask(
            TaskName.PRUNE_IDEMPOTENCY_KEYS,
            60,
            build_single_transaction_task(
                lambda session: idempotency.delete_expired(session, hours=idempotency_hours)
            ),
        ),
        PeriodicTask(
            TaskName.PRUNE_WEBHOOK_DELIVERIES, 3600, build_single_transaction_task(deliveries.prune)
        ),
        PeriodicTask(
            TaskName.PRUNE_MODEL_TRAFFIC, 600, build_single_transaction_task(traffic.prune)
        ),
        PeriodicTask(TaskName.PRUNE_CHANGES, 60, build_single_transaction_task(change_log.prune)),
        PeriodicTask(TaskName.PRUNE_TRAINERS, 600, build_single_transaction_task(trainers.prune)),
        # Last: creating many jobs or runs must not delay the recovery of others.
        *creations,
    ]


def _build_sweeps_task(job_rules: JobRules) -> PeriodicTask:
    def advance_sweep(session: Session, sweep_id: str) -> None:
        advance.advance(session, job_rules, sweep_id)

    run = build_per_job_task(advance.find_due, advance_sweep)
    return PeriodicTask(TaskName.ADVANCE_SWEEPS, 0, run)


def build_single_transaction_task(work: TransactionWork) -> Callable[[SessionMaker], object]:
    """Build a task that does `work` in a single transaction."""

    def run(sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            work(session)

    return run


def build_per_job_task(
    find: Callable[[Session], Sequence[str]],
    work: Callable[[Session, str], object],
    *,
    on_error: Callable[[Session, str], object] = lambda session, job_id: None,
    is_enough: Callable[[object], bool] = lambda result: False,
) -> Callable[[SessionMaker], object]:
    """Build a task that does `work` on each job or sweep found, in a transaction for each.

    None then waits for another's locks, and one that fails does not stop the others: `on_error` is
    called for it, in another transaction. After a result that `is_enough` the rest is left for the
    next time.
    """

    def run(sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            job_ids = find(session)
        for job_id in job_ids:
            try:
                with transaction(sessions) as session:
                    result = work(session, job_id)
                if is_enough(result):
                    return
            except DatabaseUnavailable:
                raise
            except Exception:
                log.exception("periodic_task.failed", task=work.__name__, job=job_id)
                with transaction(sessions) as session:
                    on_error(session, job_id)

    return run


class Reconciler:
    """Runner of the periodic tasks. Call `run` every few seconds.

    For `grace_period_seconds` after the start, and after each database outage, no lease expires,
    to give trainers, which could not renew theirs either, a chance to do so first.
    """

    def __init__(
        self,
        sessions: SessionMaker,
        *,
        grace_period_seconds: float,
        slice_seconds: float = 0,
        max_running: int = 0,
        idempotency_hours: float = 24,
        job_rules: JobRules | None = None,
        advance_evaluations: Callable[[Session, str], object] | None = None,
    ) -> None:
        self.tasks = build_tasks(
            slice_seconds=slice_seconds,
            max_running=max_running,
            idempotency_hours=idempotency_hours,
            job_rules=job_rules,
            advance_evaluations=advance_evaluations,
        )
        self._sessions = sessions
        self._grace_period_seconds = grace_period_seconds
        self._start_grace_period()

    def run(self) -> bool:
        """Run the due tasks as the leader; return false if another process leads."""
        try:
            with acquire_leader_lock(self._sessions) as session:
                if session is None:
                    return False
                succeeded: dict[str, float] = {}
                for task in self.tasks:
                    # Raises if the lock's connection is lost; the next leader runs the other tasks.
                    session.execute(select(1))
                    if self._run_if_due(task):
                        succeeded[task.name] = task.interval_seconds
                # One statement for all tasks: they run often, and most find nothing to do.
                periodic_task_runs.record_success(session, succeeded)
        except DatabaseUnavailable as error:
            log.warning("reconciler.database_unavailable", reason=str(error))
            self._start_grace_period()
            return False
        return True

    def _start_grace_period(self) -> None:
        for task in self.tasks:
            if task.name == TaskName.EXPIRE_LEASES:
                task.due_at = time.monotonic() + self._grace_period_seconds

    def _run_if_due(self, task: PeriodicTask) -> bool:
        """Run a task if it is due; return true if it ran and succeeded."""
        if time.monotonic() < task.due_at:
            return False
        task.due_at = time.monotonic() + task.interval_seconds
        try:
            task.run(self._sessions)
        except DatabaseUnavailable:
            raise
        except Exception:
            # One failing task must not stop the others.
            log.exception("periodic_task.failed", task=task.name)
            return False
        return True


def find_unvalidated(session: Session) -> Sequence[str]:
    """Find new jobs that were not validated because their notification was lost."""
    return validation_queue.find_forgotten(
        session,
        older_than_seconds=REVALIDATE_AFTER_SECONDS,
        limit=BATCH_SIZE,
        slow_methods=GENERATIVE_METHODS,
        slow_older_than_seconds=REVALIDATE_WITHOUT_ROWS_AFTER_SECONDS,
    )


def expire_work(session: Session, list_id: str) -> None:
    """Stop a list whose time is over; what it is for is finished with the results it has."""
    lists.stop(session, list_id, WorkStop.EXPIRED)


def find_uncharged(session: Session) -> Sequence[str]:
    """Find jobs whose trainers died before they charged an attempt to the project."""
    return scheduling.find_uncharged(session, limit=BATCH_SIZE)


def renotify(session: Session) -> None:
    """Notify again for the oldest queued job; the trainer that takes it then looks for the next."""
    since = clock.seconds_from_now(-RENOTIFY_AFTER_SECONDS)
    oldest = (
        select(Job.id)
        .where(Job.state == JobState.QUEUED, Job.run_after < since)
        .order_by(Job.run_after)
        .limit(1)
    )
    for job_id in session.scalars(oldest):
        outbox.enqueue_notification(session, WorkerTask.TRAIN, job_id)


def expire_files(session: Session) -> None:
    """Delete files past their expiry time, except those that an unfinished job may read again.

    These are deleted once the job, or the sweep that makes jobs of them, has ended.
    """
    unused = [~users.exists() for _, users in service.select_users(File.id)]
    files = (
        select(File)
        .where(File.expires_at < func.clock_timestamp(), File.deleted_at.is_(None), *unused)
        .limit(BATCH_SIZE)
        .with_for_update(skip_locked=True)
    )
    for file in session.scalars(files):
        # A job may have been created on it before it was locked.
        if not service.is_used(session, file.id):
            service.erase(session, file)


def prune_outbox(session: Session) -> None:
    """Delete done rows, and later unsent notifications, when their retention has ended."""
    session.execute(
        delete(Outbox).where(Outbox.done_at < clock.seconds_from_now(-DONE_RETENTION_SECONDS))
    )
    since = clock.seconds_from_now(-NOTIFICATION_RETENTION_SECONDS)
    session.execute(
        delete(Outbox).where(Outbox.kind == OutboxKind.NOTIFY, Outbox.created_at < since)
    )
