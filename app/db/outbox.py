"""Work outside the database that a transaction decides on: it happens if and only if that commits.

A bell is also rung right after the commit (`ring_on_commit`), so that nobody waits for the relay;
the row is the net for the case that the process or the broker dies in between.
"""

from collections.abc import Callable

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from app.db.session import SessionMaker
from app.db.tables import Outbox

# Rings for a task and a job; False if the broker cannot be reached. Never raises.
Notify = Callable[[str, str], bool]

# Where a session keeps the bells of its transaction, before and after the commit.
PENDING_HINTS = "bells"
COMMITTED_HINTS = "committed_bells"


def enqueue_hint(session: Session, task: str, job_id: str) -> None:
    """Tell the workers that there is `task` ("train", "validate" or "deliver") to do for a job."""
    session.add(Outbox(kind="bell", payload={"task": task, "job_id": job_id}))
    session.info.setdefault(PENDING_HINTS, []).append((task, job_id))


def enqueue_blob_deletion(session: Session, key: str) -> None:
    """Delete one object of the store. Tombstone its row in the same transaction."""
    session.add(Outbox(kind="delete_blobs", payload={"keys": [key]}))


def enqueue_prefix_deletion(session: Session, prefix: str) -> None:
    """Delete all objects under a prefix, such as a checkpoint's."""
    session.add(Outbox(kind="delete_blobs", payload={"prefix": f"{prefix}/"}))


def notify_after_commit(maker: SessionMaker, notify: Notify) -> None:
    """Make the sessions of this maker ring their bells once they have committed."""

    def committed(session: Session) -> None:
        # A savepoint's release is no commit: what it belongs to may still be rolled back.
        if not session.in_nested_transaction():
            session.info[COMMITTED_HINTS] = session.info.pop(PENDING_HINTS, [])

    def ended(session: Session, finished: SessionTransaction) -> None:
        # Not before the end: until then the session holds a connection, and the broker may be slow.
        if finished.parent is not None:
            return
        session.info.pop(PENDING_HINTS, None)
        for task, job_id in session.info.pop(COMMITTED_HINTS, []):
            notify(task, job_id)

    event.listen(maker, "after_commit", committed)
    event.listen(maker, "after_transaction_end", ended)
