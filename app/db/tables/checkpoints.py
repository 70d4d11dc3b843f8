"""Checkpoints of jobs."""

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, BigInt, CreatedAt, JsonObject, Timestamp


class Checkpoint(Base):
    """A whole checkpoint in storage; there is a row only when all its bytes are there.

    `kind` is "user" (end of an epoch of data, servable as `model`) or "resume".
    """

    __tablename__ = "checkpoints"

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    epoch: Mapped[BigInt]
    step: Mapped[int]
    kind: Mapped[str]
    storage_prefix: Mapped[str]
    manifest_sha256: Mapped[str]
    bytes: Mapped[BigInt]
    model_name: Mapped[str | None]
    metrics: Mapped[JsonObject]
    created_at: Mapped[CreatedAt]
    deleted_at: Mapped[Timestamp | None]

    __table_args__ = (
        UniqueConstraint("job_id", "step", "kind"),
        CheckConstraint("kind IN ('user', 'resume')", name="kind"),
    )
