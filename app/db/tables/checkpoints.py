"""Checkpoints of jobs."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import (
    Base,
    BigInt,
    CreatedAt,
    JsonObject,
    StrEnumType,
    Timestamp,
    format_sql_values,
)


class CheckpointKind(StrEnum):
    """`user`: taken at the end of an epoch, servable as a model. `resume`: only for resuming."""

    USER = "user"
    RESUME = "resume"


class Checkpoint(Base):
    """A complete checkpoint: its row is inserted once all its bytes are in storage."""

    __tablename__ = "checkpoints"

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    attempt: Mapped[BigInt]
    step: Mapped[int]
    kind: Mapped[CheckpointKind] = mapped_column(StrEnumType(CheckpointKind))
    storage_prefix: Mapped[str]
    manifest_sha256: Mapped[str]
    bytes: Mapped[BigInt]
    model_name: Mapped[str | None]
    metrics: Mapped[JsonObject]
    created_at: Mapped[CreatedAt]
    deleted_at: Mapped[Timestamp | None]

    __table_args__ = (
        UniqueConstraint("job_id", "step", "kind"),
        CheckConstraint(f"kind IN {format_sql_values(CheckpointKind)}", name="kind"),
        Index(
            "ix_checkpoints_deleted_at",
            "deleted_at",
            postgresql_where=text("deleted_at IS NOT NULL"),
        ),
    )
