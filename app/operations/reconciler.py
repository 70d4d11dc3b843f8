"""Finds what was lost on the way and sets it going again. Any number may run; one does the work."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from app import logs
from app.db import clock, outbox
from app.db.session import DatabaseUnavailable, SessionMaker, TransactionWork, transaction
from app.db.tables import File, Job, Outbox
from app.files import uploads
from app.http import stored_responses
from app.jobs import attempts, lifecycle
from app.monitoring import traffic
from app.operations import periodic_tasks, trainers
from app.webhooks import deliveries

log = logs.get_logger(__name__)

# Any fixed number: it names the lock of the one that leads.
LEADER_LOCK_ID = 7_301_955
# Longer than any duty takes.
LEADER_IDLE_TIMEOUT_SECONDS = 30
# By then a bell has been heard, or was lost.
RENOTIFY_AFTER_SECONDS = 30
# A new job's bell has had this time before the poll takes the validation over.
REVALIDATE_AFTER_SECONDS = 1
OUTBOX_RETENTION_SECONDS = 3600
BATCH_SIZE = 100


@dataclass(slots=True)
class PeriodicTask:
    """Something to be looked after every so often."""

    name: str
    interval_seconds: float
    run: Callable[[SessionMaker], object]
    due_at: float = 0.0


def build_tasks() -> list[PeriodicTask]:
    """All of them, due at once."""
    return [
        PeriodicTask("validate", 0, each_in_own_transaction(find_unvalidated, lifecycle.validate)),
        PeriodicTask(
            "expire_leases",
            5,
            each_in_own_transaction(attempts.find_expired_leases, attempts.expire_lease),
        ),
        PeriodicTask("ring_again", 30, in_one_transaction(renotify)),
        PeriodicTask("expire_files", 60, in_one_transaction(expire_files)),
        PeriodicTask("expire_uploads", 60, in_one_transaction(uploads.expire)),
        PeriodicTask("remove_parts", 30, in_one_transaction(uploads.remove_parts)),
        PeriodicTask("prune_outbox", 600, in_one_transaction(prune_outbox)),
        PeriodicTask("prune_repeats", 600, in_one_transaction(stored_responses.delete_expired)),
        PeriodicTask("prune_deliveries", 3600, in_one_transaction(deliveries.prune)),
        PeriodicTask("prune_traffic", 600, in_one_transaction(traffic.prune)),
        PeriodicTask("prune_workers", 600, in_one_transaction(trainers.prune)),
    ]


def in_one_transaction(work: TransactionWork) -> Callable[[SessionMaker], object]:
    """A duty that is done in one transaction."""

    def do(sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            work(session)

    return do


def each_in_own_transaction(
    find: Callable[[Session], Sequence[str]], work: Callable[[Session, str], object]
) -> Callable[[SessionMaker], object]:
    """A duty on many jobs, each in a transaction of its own: none holds another's locks, and one
    that is broken does not keep the others from being done."""

    def do(sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            found = find(session)
        for job_id in found:
            try:
                with transaction(sessions) as session:
                    work(session, job_id)
            except DatabaseUnavailable:
                raise
            except Exception:
                log.exception("duty.failed", duty=work.__name__, job=job_id)

    return do


@contextmanager
def leader_lock(sessions: SessionMaker) -> Iterator[Session | None]:
    """The session that keeps all others from leading while the block runs, or None if one leads.

    In autocommit: while duties run this connection idles, and a transaction that idles is ended by
    Postgres and keeps it from cleaning up. The lock ends with the connection, and Postgres ends
    that too when a leader froze or was cut off. Raises DatabaseUnavailable.
    """
    with transaction(sessions) as session:
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        if not session.scalar(select(func.pg_try_advisory_lock(LEADER_LOCK_ID))):
            yield None
            return
        try:
            session.execute(text(f"SET idle_session_timeout = '{LEADER_IDLE_TIMEOUT_SECONDS}s'"))
            yield session
            # A closed connection keeps its locks until Postgres has noticed, and nobody leads then.
            session.execute(select(func.pg_advisory_unlock(LEADER_LOCK_ID)))
        finally:
            # Not given back: the time limit would stay with it, and after an error the lock too.
            session.invalidate()


class Reconciler:
    """Call `run` every few seconds.

    For `patience_seconds` after the start, and after each time the database was away, no lease is
    ended: workers could not renew them either, and get the chance to do it now.
    """

    def __init__(self, sessions: SessionMaker, *, grace_period_seconds: float) -> None:
        self.tasks = build_tasks()
        self._sessions = sessions
        self._grace_period_seconds = grace_period_seconds
        self._start_grace_period()

    def run(self) -> bool:
        """Do what is due, if no other process is just doing it; whether it was our turn."""
        try:
            with leader_lock(self._sessions) as session:
                if session is None:
                    return False
                done: dict[str, float] = {}
                for duty in self.tasks:
                    # Whoever has lost the lock is told so here, and leaves the rest to another.
                    session.execute(select(1))
                    if self._run_if_due(duty):
                        done[duty.name] = duty.interval_seconds
                # In one go, and in autocommit: duties come often, and most find nothing to do.
                periodic_tasks.record_success(session, done)
        except DatabaseUnavailable as error:
            log.warning("reconciler.database_unavailable", reason=str(error))
            self._start_grace_period()
            return False
        return True

    def _start_grace_period(self) -> None:
        for duty in self.tasks:
            if duty.name == "expire_leases":
                duty.due_at = time.monotonic() + self._grace_period_seconds

    def _run_if_due(self, duty: PeriodicTask) -> bool:
        """Whether it was due and went well."""
        if time.monotonic() < duty.due_at:
            return False
        duty.due_at = time.monotonic() + duty.interval_seconds
        try:
            duty.run(self._sessions)
        except DatabaseUnavailable:
            raise
        except Exception:
            # One that is broken must not keep the others from being done.
            log.exception("duty.failed", duty=duty.name)
            return False
        return True


def find_unvalidated(session: Session) -> Sequence[str]:
    """The new jobs that nobody has validated, for their bell was not heard."""
    since = clock.seconds_from_now(-REVALIDATE_AFTER_SECONDS)
    jobs = select(Job.id).where(Job.state == "validating_files", Job.created_at < since)
    return session.scalars(jobs.limit(BATCH_SIZE)).all()


def renotify(session: Session) -> None:
    """Ring for the longest waiting job: whoever hears it takes it, and then looks for the next."""
    since = clock.seconds_from_now(-RENOTIFY_AFTER_SECONDS)
    waiting = (
        select(Job.id)
        .where(Job.state == "queued", Job.run_after < since)
        .order_by(Job.run_after)
        .limit(1)
    )
    for job_id in session.scalars(waiting):
        outbox.enqueue_hint(session, "train", job_id)


def expire_files(session: Session) -> None:
    """Delete the files whose time has come."""
    files = (
        select(File)
        .where(File.expires_at < func.clock_timestamp(), File.deleted_at.is_(None))
        .limit(BATCH_SIZE)
        .with_for_update(skip_locked=True)
    )
    for file in session.scalars(files):
        file.deleted_at = func.clock_timestamp()
        outbox.enqueue_blob_deletion(session, file.storage_key)


def prune_outbox(session: Session) -> None:
    """Remove what was done long ago, and bells that have rung in vain for as long."""
    since = clock.seconds_from_now(-OUTBOX_RETENTION_SECONDS)
    session.execute(delete(Outbox).where(Outbox.done_at < since))
    session.execute(delete(Outbox).where(Outbox.kind == "bell", Outbox.created_at < since))
