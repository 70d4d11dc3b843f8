"""Transactional outbox: side effects that happen if and only if their transaction commits.

A task hint is also sent to the broker right after the commit (`notify_after_commit`), so that its
worker starts at once; the row covers the case that the process or the broker dies in between.
`app.operations.outbox_dispatch` performs what the rows say.
"""

from collections.abc import Callable

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from app.db.session import SessionMaker
from app.db.tables import Outbox, OutboxKind, WorkerTask

# Sends a task hint for a job; false if the broker is unreachable. Never raises.
Notify = Callable[[str, str], bool]

# Keys of `Session.info`: the hints of its open transaction, and of the one just committed.
PENDING_HINTS = "pending_hints"
COMMITTED_HINTS = "committed_hints"


def enqueue_hint(session: Session, task: WorkerTask, job_id: str) -> None:
    """Hint to the workers that `task` has work to do for a job."""
    payload = {"task": task, "job_id": job_id}
    session.add(Outbox(kind=OutboxKind.NOTIFY, payload=payload))
    session.info.setdefault(PENDING_HINTS, []).append((task, job_id))


def enqueue_blob_deletion(session: Session, key: str) -> None:
    """Delete one stored object. Mark its row as deleted in the same transaction."""
    session.add(Outbox(kind=OutboxKind.DELETE_BLOBS, payload={"keys": [key]}))


def enqueue_prefix_deletion(session: Session, prefix: str) -> None:
    """Delete all stored objects under a prefix, such as a checkpoint's."""
    session.add(Outbox(kind=OutboxKind.DELETE_BLOBS, payload={"prefix": f"{prefix}/"}))


def notify_after_commit(maker: SessionMaker, notify: Notify) -> None:
    """Have the sessions of a maker send their hints once they have committed."""

    def after_commit(session: Session) -> None:
        # Releasing a savepoint is no commit: the outer transaction may still be rolled back.
        if not session.in_nested_transaction():
            session.info[COMMITTED_HINTS] = session.info.pop(PENDING_HINTS, [])

    def after_transaction_end(session: Session, ended: SessionTransaction) -> None:
        # Only now is the session's connection back in the pool, and the broker may be slow.
        if ended.parent is not None:
            return
        session.info.pop(PENDING_HINTS, None)
        for task, job_id in session.info.pop(COMMITTED_HINTS, []):
            notify(task, job_id)

    event.listen(maker, "after_commit", after_commit)
    event.listen(maker, "after_transaction_end", after_transaction_end)
