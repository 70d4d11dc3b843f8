"""Transactional outbox: side effects that happen if and only if their transaction commits.

A notification is also sent to the broker right after the commit (`notify_after_commit`), so that
a worker starts at once; the row covers the case that the process or the broker dies in between.
`app.operations.outbox_dispatch` performs the side effects.
"""

from collections.abc import Callable

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from app.db.session import SessionMaker
from app.db.tables import Outbox, OutboxKind, WorkerTask

# Sends a notification of a task for a job; false if the broker is unreachable. Never raises.
Notify = Callable[[str, str], bool]

# Keys of `Session.info`: the notifications of the open transaction, and of the committed one.
PENDING_NOTIFICATIONS = "pending_notifications"
COMMITTED_NOTIFICATIONS = "committed_notifications"


def enqueue_notification(session: Session, task: WorkerTask, job_id: str) -> None:
    """Notify the workers, after the commit, that `task` is to be done for a job."""
    payload = {"task": task, "job_id": job_id}
    session.add(Outbox(kind=OutboxKind.NOTIFY, payload=payload))
    session.info.setdefault(PENDING_NOTIFICATIONS, []).append((task, job_id))


def enqueue_blob_deletion(session: Session, key: str) -> None:
    """Enqueue the deletion of an object, whose row is deleted in the same transaction."""
    session.add(Outbox(kind=OutboxKind.DELETE_BLOBS, payload={"keys": [key]}))


def enqueue_prefix_deletion(session: Session, prefix: str) -> None:
    """Enqueue the deletion of all objects under a prefix, such as a checkpoint's."""
    session.add(Outbox(kind=OutboxKind.DELETE_BLOBS, payload={"prefix": f"{prefix}/"}))


def notify_after_commit(maker: SessionMaker, notify: Notify) -> None:
    """Make the sessions of a maker send their notifications once they have committed."""

    def after_commit(session: Session) -> None:
        # Releasing a savepoint is not a commit: the outer transaction may still be rolled back.
        if not session.in_nested_transaction():
            session.info[COMMITTED_NOTIFICATIONS] = session.info.pop(PENDING_NOTIFICATIONS, [])

    def after_transaction_end(session: Session, ended: SessionTransaction) -> None:
        # Not before: by now the connection is back in the pool, and the broker may be slow.
        if ended.parent is not None:
            return
        session.info.pop(PENDING_NOTIFICATIONS, None)
        for task, job_id in session.info.pop(COMMITTED_NOTIFICATIONS, []):
            notify(task, job_id)

    event.listen(maker, "after_commit", after_commit)
    event.listen(maker, "after_transaction_end", after_transaction_end)
