"""Ends of batches: one transaction has the state, the counts, the files and the webhooks."""

from sqlalchemy import func
from sqlalchemy.orm import Session

from app.batches import counts
from app.batches.counts import Total
from app.db import clock
from app.db.tables import Batch, BatchState, File, UsageKind, WorkStop
from app.inference.endpoints import EMBEDDINGS_PATH
from app.usage import ledger
from app.usage.ledger import UsageCounts, UsageKey
from app.webhooks import deliveries
from app.work import lists

STATES_BY_STOP = {
    None: BatchState.COMPLETED,
    WorkStop.CANCELLED: BatchState.CANCELLED,
    WorkStop.EXPIRED: BatchState.EXPIRED,
    WorkStop.FAILED: BatchState.FAILED,
}


def find_state(reason: WorkStop | None) -> BatchState:
    """Find the state in which a batch ends, by the reason why it was stopped, if it was."""
    return STATES_BY_STOP[reason]


def file_results(session: Session, batch: Batch, output: File | None, errors: File | None) -> None:
    """Add the files of a locked batch whose content is stored."""
    session.add_all([file for file in (output, errors) if file is not None])
    session.flush()
    batch.output_file_id = None if output is None else output.id
    batch.error_file_id = None if errors is None else errors.id


def end(session: Session, batch: Batch, state: BatchState, *, num_expired: int = 0) -> None:
    """End a locked batch, whose list is locked too and is deleted."""
    counted = counts.count_ranges(session, batch.id)
    batch.num_completed, batch.num_failed = counted.completed, counted.failed + num_expired
    for total in Total:
        setattr(batch, total, counted.tokens.get(total, 0))
    batch.state, batch.ended_at = state, func.clock_timestamp()
    session.flush()
    _record_usage(session, batch)
    lists.delete_list(session, batch.id)
    deliveries.enqueue(session, batch.project_id, f"batch.{state}", batch.id, clock.now(session))


def _record_usage(session: Session, batch: Batch) -> None:
    """Add what the requests used to the project's usage, once, since a batch ends once."""
    if batch.model is None or not batch.num_completed:
        return
    is_embedding = batch.endpoint == EMBEDDINGS_PATH
    key = UsageKey(
        batch.project_id,
        batch.api_key_id or "",
        batch.model,
        UsageKind.EMBEDDINGS if is_embedding else UsageKind.COMPLETIONS,
        is_batch=True,
    )
    used = UsageCounts(
        batch.num_completed, batch.input_tokens, batch.cached_tokens, batch.output_tokens
    )
    ledger.record(session, {key: used})
