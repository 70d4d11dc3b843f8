"""Outbox dispatcher: performs the side effects of committed transactions."""

from typing import Any

from sqlalchemy import func, select, true, update

from app import logs
from app.db import clock
from app.db.deletion_hold import permit_deletions
from app.db.outbox import Notify
from app.db.session import SessionMaker, transaction
from app.db.tables import Outbox, OutboxKind
from app.storage import ObjectStore, StorageUnavailable

log = logs.get_logger(__name__)

BATCH_SIZE = 100
# Exponential backoff of a row that failed: 5 s, 10 s, 20 s …
MIN_RETRY_DELAY_SECONDS = 5
MAX_RETRY_DELAY_SECONDS = 600


def dispatch_pending(maker: SessionMaker, notify: Notify, store: ObjectStore) -> int:
    """Perform all pending rows, in batches; return the number done. Failed rows are retried later.

    Rows are performed at least once, so their side effects are idempotent. Deletions wait while a
    backup holds the objects, and a backup waits for one batch at most.
    """
    done = 0
    while (performed := _dispatch_batch(maker, notify, store)) is not None:
        done += performed
    return done


def _dispatch_batch(maker: SessionMaker, notify: Notify, store: ObjectStore) -> int | None:
    """Perform a batch; return the number of rows done, or None if none is pending."""
    with permit_deletions(maker) as may_delete:
        batch = _claim_batch(maker, may_delete=may_delete)
        if not batch:
            return None
        performed = [
            row_id for row_id, kind, payload in batch if _perform(kind, payload, notify, store)
        ]
        _mark_done(maker, performed)
    return len(performed)


def _claim_batch(maker: SessionMaker, *, may_delete: bool) -> list[tuple[int, str, dict[str, Any]]]:
    # Claimed rows are hidden from other dispatchers by `available_at`, not by a lock: performing
    # them takes network requests, which must not happen inside a transaction.
    delay = func.least(
        MIN_RETRY_DELAY_SECONDS * func.power(2, Outbox.attempts), MAX_RETRY_DELAY_SECONDS
    )
    available = (
        select(Outbox.id)
        .where(
            Outbox.done_at.is_(None),
            Outbox.available_at <= func.clock_timestamp(),
            true() if may_delete else Outbox.kind != OutboxKind.DELETE_BLOBS,
        )
        # Notifications first: a project that deletes all its files must not delay others' jobs.
        .order_by(Outbox.kind != OutboxKind.NOTIFY, Outbox.id)
        .limit(BATCH_SIZE)
        .with_for_update(skip_locked=True)
        # A plain subquery could be evaluated once per row, and claim more than a batch.
        .cte("available")
    )
    statement = (
        update(Outbox)
        .where(Outbox.id == available.c.id)
        .values(
            attempts=Outbox.attempts + 1,
            available_at=clock.seconds_from_now(delay),
        )
        .returning(Outbox.id, Outbox.kind, Outbox.payload)
        .execution_options(synchronize_session=False)
    )
    with transaction(maker) as session:
        rows = [(row.id, row.kind, row.payload) for row in session.execute(statement)]
    return sorted(rows, key=lambda row: row[0])


def _perform(kind: str, payload: dict[str, Any], notify: Notify, store: ObjectStore) -> bool:
    if kind == OutboxKind.NOTIFY:
        return notify(payload["task"], payload["job_id"])
    if kind == OutboxKind.DELETE_BLOBS:
        return _delete_blobs(payload, store)
    # A kind of a newer version, whose dispatcher will perform it.
    log.warning("outbox.unknown_kind", kind=kind)
    return False


def _delete_blobs(payload: dict[str, Any], store: ObjectStore) -> bool:
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


def _mark_done(maker: SessionMaker, row_ids: list[int]) -> None:
    with transaction(maker) as session:
        session.execute(
            update(Outbox)
            .where(Outbox.id.in_(row_ids))
            .values(done_at=func.clock_timestamp())
            .execution_options(synchronize_session=False)
        )
