"""Finds what was lost on the way and sets it going again. Any number may run; one does the work."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from app import logs
from app.db import clock, outbox
from app.db.session import DatabaseUnavailable, SessionMaker, Work, transaction
from app.db.tables import File, Job, Outbox
from app.files import uploads
from app.http import stored_responses
from app.jobs import attempts, lifecycle
from app.monitoring import traffic
from app.operations import periodic_tasks, trainers
from app.webhooks import deliveries

log = logs.get(__name__)

# Any fixed number: it names the lock of the one that leads.
LEADER_LOCK = 7_301_955
# Longer than any duty takes.
LEADER_SILENT_SECONDS = 30
# By then a bell has been heard, or was lost.
HEARD_AFTER_SECONDS = 30
# A new job's bell has had this time before the poll takes the validation over.
VALIDATED_AFTER_SECONDS = 1
KEEP_DONE_SECONDS = 3600
BATCH = 100


@dataclass(slots=True)
class Duty:
    """Something to be looked after every so often."""

    name: str
    every_seconds: float
    work: Callable[[SessionMaker], object]
    due_at: float = 0.0


def all_duties() -> list[Duty]:
    """All of them, due at once."""
    return [
        Duty("validate", 0, one_by_one(forgotten, lifecycle.validate)),
        Duty("expire_leases", 5, one_by_one(attempts.silent, attempts.expire_lease)),
        Duty("ring_again", 30, at_once(ring_again)),
        Duty("expire_files", 60, at_once(expire_files)),
        Duty("expire_uploads", 60, at_once(uploads.expire)),
        Duty("remove_parts", 30, at_once(uploads.remove_parts)),
        Duty("prune_outbox", 600, at_once(prune_outbox)),
        Duty("prune_repeats", 600, at_once(stored_responses.prune)),
        Duty("prune_deliveries", 3600, at_once(deliveries.prune)),
        Duty("prune_traffic", 600, at_once(traffic.prune)),
        Duty("prune_workers", 600, at_once(trainers.prune)),
    ]


def at_once(work: Work) -> Callable[[SessionMaker], object]:
    """A duty that is done in one transaction."""

    def do(sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            work(session)

    return do


def one_by_one(
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
def leading(sessions: SessionMaker) -> Iterator[Session | None]:
    """The session that keeps all others from leading while the block runs, or None if one leads.

    In autocommit: while duties run this connection idles, and a transaction that idles is ended by
    Postgres and keeps it from cleaning up. The lock ends with the connection, and Postgres ends
    that too when a leader froze or was cut off. Raises DatabaseUnavailable.
    """
    with transaction(sessions) as session:
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        if not session.scalar(select(func.pg_try_advisory_lock(LEADER_LOCK))):
            yield None
            return
        try:
            session.execute(text(f"SET idle_session_timeout = '{LEADER_SILENT_SECONDS}s'"))
            yield session
            # A closed connection keeps its locks until Postgres has noticed, and nobody leads then.
            session.execute(select(func.pg_advisory_unlock(LEADER_LOCK)))
        finally:
            # Not given back: the time limit would stay with it, and after an error the lock too.
            session.invalidate()


class Reconciler:
    """Call `run` every few seconds.

    For `patience_seconds` after the start, and after each time the database was away, no lease is
    ended: workers could not renew them either, and get the chance to do it now.
    """

    def __init__(self, sessions: SessionMaker, *, patience_seconds: float) -> None:
        self.duties = all_duties()
        self._sessions = sessions
        self._patience = patience_seconds
        self._be_patient()

    def run(self) -> bool:
        """Do what is due, if no other process is just doing it; whether it was our turn."""
        try:
            with leading(self._sessions) as session:
                if session is None:
                    return False
                done: dict[str, float] = {}
                for duty in self.duties:
                    # Whoever has lost the lock is told so here, and leaves the rest to another.
                    session.execute(select(1))
                    if self._do(duty):
                        done[duty.name] = duty.every_seconds
                # In one go, and in autocommit: duties come often, and most find nothing to do.
                periodic_tasks.succeeded(session, done)
        except DatabaseUnavailable as error:
            log.warning("reconciler.database_unavailable", reason=str(error))
            self._be_patient()
            return False
        return True

    def _be_patient(self) -> None:
        for duty in self.duties:
            if duty.name == "expire_leases":
                duty.due_at = time.monotonic() + self._patience

    def _do(self, duty: Duty) -> bool:
        """Whether it was due and went well."""
        if time.monotonic() < duty.due_at:
            return False
        duty.due_at = time.monotonic() + duty.every_seconds
        try:
            duty.work(self._sessions)
        except DatabaseUnavailable:
            raise
        except Exception:
            # One that is broken must not keep the others from being done.
            log.exception("duty.failed", duty=duty.name)
            return False
        return True


def forgotten(session: Session) -> Sequence[str]:
    """The new jobs that nobody has validated, for their bell was not heard."""
    since = clock.in_seconds(-VALIDATED_AFTER_SECONDS)
    jobs = select(Job.id).where(Job.state == "validating_files", Job.created_at < since)
    return session.scalars(jobs.limit(BATCH)).all()


def ring_again(session: Session) -> None:
    """Ring for the longest waiting job: whoever hears it takes it, and then looks for the next."""
    since = clock.in_seconds(-HEARD_AFTER_SECONDS)
    waiting = (
        select(Job.id)
        .where(Job.state == "queued", Job.run_after < since)
        .order_by(Job.run_after)
        .limit(1)
    )
    for job_id in session.scalars(waiting):
        outbox.bell(session, "train", job_id)


def expire_files(session: Session) -> None:
    """Delete the files whose time has come."""
    files = (
        select(File)
        .where(File.expires_at < func.clock_timestamp(), File.deleted_at.is_(None))
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    for file in session.scalars(files):
        file.deleted_at = func.clock_timestamp()
        outbox.delete_blob(session, file.storage_key)


def prune_outbox(session: Session) -> None:
    """Remove what was done long ago, and bells that have rung in vain for as long."""
    since = clock.in_seconds(-KEEP_DONE_SECONDS)
    session.execute(delete(Outbox).where(Outbox.done_at < since))
    session.execute(delete(Outbox).where(Outbox.kind == "bell", Outbox.created_at < since))
