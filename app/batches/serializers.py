"""Serializers of batches: rows to wire objects."""

from datetime import datetime

from app.batches.counts import Counts, Total
from app.batches.schemas import (
    BatchError,
    BatchErrors,
    BatchObject,
    BatchUsage,
    InputTokensDetails,
    OutputTokensDetails,
    RequestCounts,
)
from app.db.tables import Batch, BatchState


def serialize_batch(row: Batch, counts: Counts) -> BatchObject:
    return BatchObject(
        id=row.id,
        endpoint=row.endpoint,
        model=row.model,
        errors=_serialize_errors(row),
        input_file_id=row.input_file_id,
        completion_window=row.completion_window,
        status=row.state,
        output_file_id=row.output_file_id,
        error_file_id=row.error_file_id,
        created_at=row.created_at,
        in_progress_at=row.in_progress_at,
        expires_at=row.expires_at,
        finalizing_at=row.finalizing_at,
        completed_at=_ended_at(row, BatchState.COMPLETED),
        failed_at=_ended_at(row, BatchState.FAILED),
        expired_at=_ended_at(row, BatchState.EXPIRED),
        cancelling_at=row.cancelling_at,
        cancelled_at=_ended_at(row, BatchState.CANCELLED),
        request_counts=RequestCounts(
            total=row.num_requests, completed=counts.completed, failed=counts.failed
        ),
        usage=_serialize_usage(counts),
        metadata=row.user_metadata,
    )


def _serialize_errors(row: Batch) -> BatchErrors | None:
    if row.errors is None:
        return None
    return BatchErrors(data=[BatchError.model_validate(error) for error in row.errors])


def _serialize_usage(counts: Counts) -> BatchUsage:
    tokens = {total: counts.tokens.get(total, 0) for total in Total}
    return BatchUsage(
        input_tokens=tokens[Total.INPUT],
        input_tokens_details=InputTokensDetails(cached_tokens=tokens[Total.CACHED]),
        output_tokens=tokens[Total.OUTPUT],
        output_tokens_details=OutputTokensDetails(reasoning_tokens=tokens[Total.REASONING]),
        total_tokens=tokens[Total.INPUT] + tokens[Total.OUTPUT],
    )


def _ended_at(row: Batch, state: BatchState) -> datetime | None:
    return row.ended_at if row.state == state else None
