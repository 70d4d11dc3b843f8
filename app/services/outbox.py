"""Work outside the database that a transaction decides on: it happens if and only if that commits.

A bell is also rung right after the commit (`ring_on_commit`), so that nobody waits for the relay;
the row is the net for the case that the process or the broker dies in between.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import event, func, select, update
from sqlalchemy.orm import Session, SessionTransaction

from app import logs
from app.db import clock
from app.db.models import Outbox
from app.db.session import SessionMaker, transaction
from app.storage import BlobStore, StorageUnavailable

log = logs.get(__name__)

# Rings for a task and a job; False if the broker cannot be reached. Never raises.
Ring = Callable[[str, str], bool]

# Where a session keeps the bells of its transaction, before and after the commit.
BELLS = "bells"
COMMITTED = "committed_bells"
BATCH = 100
# A row that failed comes again after 5 s, 10 s, 20 s …, at most 10 minutes.
RETRY_SECONDS = 5
RETRY_AT_MOST_SECONDS = 600


def bell(session: Session, task: str, job_id: str) -> None:
    """Tell the workers that there is `task` ("train", "validate" or "deliver") to do for a job."""
    session.add(Outbox(kind="bell", payload={"task": task, "job_id": job_id}))
    session.info.setdefault(BELLS, []).append((task, job_id))


def delete_blob(session: Session, key: str) -> None:
    """Delete one object of the store. Tombstone its row in the same transaction."""
    session.add(Outbox(kind="delete_blobs", payload={"keys": [key]}))


def delete_folder(session: Session, prefix: str) -> None:
    """Delete all objects under a prefix, such as a checkpoint's."""
    session.add(Outbox(kind="delete_blobs", payload={"prefix": f"{prefix}/"}))


def ring_on_commit(maker: SessionMaker, ring: Ring) -> None:
    """Make the sessions of this maker ring their bells once they have committed."""

    def committed(session: Session) -> None:
        # A savepoint's release is no commit: what it belongs to may still be rolled back.
        if not session.in_nested_transaction():
            session.info[COMMITTED] = session.info.pop(BELLS, [])

    def ended(session: Session, finished: SessionTransaction) -> None:
        # Not before the end: until then the session holds a connection, and the broker may be slow.
        if finished.parent is not None:
            return
        session.info.pop(BELLS, None)
        for task, job_id in session.info.pop(COMMITTED, []):
            ring(task, job_id)

    event.listen(maker, "after_commit", committed)
    event.listen(maker, "after_transaction_end", ended)


def relay(maker: SessionMaker, ring: Ring, store: BlobStore) -> int:
    """Do what is open, a batch at a time; the number done. What fails stays for a later call."""
    done = 0
    while batch := _take(maker):
        finished = [row_id for row_id, kind, payload in batch if _do(kind, payload, ring, store)]
        _mark(maker, finished)
        done += len(finished)
    return done


def _take(maker: SessionMaker) -> list[tuple[int, str, dict[str, Any]]]:
    # Taken rows are hidden from other relays by their time, not by a lock: the work on them talks
    # to the network, and a transaction must not wait for that.
    wait = func.least(RETRY_SECONDS * func.power(2, Outbox.attempts), RETRY_AT_MOST_SECONDS)
    taken = (
        select(Outbox.id)
        .where(Outbox.done_at.is_(None), Outbox.available_at <= func.clock_timestamp())
        .order_by(Outbox.id)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
        # A plain subquery may run once per row, and take more than a batch.
        .cte("taken")
    )
    statement = (
        update(Outbox)
        .where(Outbox.id == taken.c.id)
        .values(
            attempts=Outbox.attempts + 1,
            available_at=clock.in_seconds(wait),
        )
        .returning(Outbox.id, Outbox.kind, Outbox.payload)
        .execution_options(synchronize_session=False)
    )
    with transaction(maker) as session:
        rows = [(row.id, row.kind, row.payload) for row in session.execute(statement)]
    return sorted(rows, key=lambda row: row[0])


def _do(kind: str, payload: dict[str, Any], ring: Ring, store: BlobStore) -> bool:
    if kind == "bell":
        return ring(payload["task"], payload["job_id"])
    if kind == "delete_blobs":
        return _delete(payload, store)
    # A newer version's kind: its own relay will do it.
    log.warning("outbox.unknown_kind", kind=kind)
    return False


def _delete(payload: dict[str, Any], store: BlobStore) -> bool:
    try:
        for key in payload.get("keys", []):
            store.delete(key)
        if "prefix" in payload:
            for key in store.list(payload["prefix"]):
                store.delete(key)
    except StorageUnavailable as error:
        log.warning("outbox.delete_failed", reason=str(error))
        return False
    return True


def _mark(maker: SessionMaker, row_ids: list[int]) -> None:
    with transaction(maker) as session:
        session.execute(
            update(Outbox)
            .where(Outbox.id.in_(row_ids))
            .values(done_at=func.clock_timestamp())
            .execution_options(synchronize_session=False)
        )
