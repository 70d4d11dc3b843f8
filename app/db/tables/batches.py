"""Batches: files of requests to the inference endpoints, worked off as a list of items."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import (
    Base,
    BigInt,
    CreatedAt,
    JsonList,
    JsonObject,
    StrEnumType,
    Timestamp,
    format_sql_values,
)


class BatchState(StrEnum):
    """OpenAI's states of a batch."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


ENDED_BATCH_STATES = (
    BatchState.FAILED,
    BatchState.COMPLETED,
    BatchState.EXPIRED,
    BatchState.CANCELLED,
)


class Batch(Base):
    """A batch. Until it has ended it has a `WorkList` of the same id, whose row is locked first."""

    __tablename__ = "batches"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    # That created it, for the usage; null if a previous version did.
    api_key_id: Mapped[str | None]
    state: Mapped[BatchState] = mapped_column(StrEnumType(BatchState))
    endpoint: Mapped[str]
    completion_window: Mapped[str]
    # Of all requests; null until they were checked.
    model: Mapped[str | None]
    input_file_id: Mapped[str] = mapped_column(ForeignKey("files.id"))
    output_file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    error_file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    # After the creation of these two files; null keeps them for the default time.
    output_expires_after_seconds: Mapped[int | None]
    # Errors of the input: {"code", "line", "message", "param"} each.
    errors: Mapped[JsonList | None]
    user_metadata: Mapped[JsonObject | None]
    num_requests: Mapped[int] = mapped_column(server_default="0")
    # Those of a batch that has ended; before, its ranges have them.
    num_completed: Mapped[int] = mapped_column(server_default="0")
    num_failed: Mapped[int] = mapped_column(server_default="0")
    input_tokens: Mapped[BigInt] = mapped_column(server_default="0")
    cached_tokens: Mapped[BigInt] = mapped_column(server_default="0")
    output_tokens: Mapped[BigInt] = mapped_column(server_default="0")
    reasoning_tokens: Mapped[BigInt] = mapped_column(server_default="0")
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Timestamp]
    in_progress_at: Mapped[Timestamp | None]
    finalizing_at: Mapped[Timestamp | None]
    cancelling_at: Mapped[Timestamp | None]
    # When it completed, failed, expired or was cancelled.
    ended_at: Mapped[Timestamp | None]

    __table_args__ = (
        CheckConstraint(f"state IN {format_sql_values(BatchState)}", name="state"),
        Index("ix_batches_project_page", "project_id", text("created_at DESC"), text("id DESC")),
        # For retention, and for the foreign keys when a file's row is deleted.
        Index("ix_batches_ended_at", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
        Index(None, "input_file_id"),
        Index(None, "output_file_id"),
        Index(None, "error_file_id"),
    )
