"""Uploaded files and result files. Their bytes are in storage under `storage_key`."""

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, BigInt, CreatedAt, JsonObject, Timestamp


class File(Base):
    __tablename__ = "files"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    filename: Mapped[str]
    purpose: Mapped[str]
    bytes: Mapped[BigInt]
    sha256: Mapped[str]
    storage_key: Mapped[str]
    status: Mapped[str]
    status_details: Mapped[str | None]
    # Of training files: the format's name and the number of examples, as judged at upload.
    format: Mapped[str | None]
    examples: Mapped[int | None]
    # The first faults, each with line, byte offset and reason.
    faults: Mapped[JsonObject | None]
    # Labels, duplicates and notes, as formats.Summary has them.
    summary: Mapped[JsonObject | None]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Timestamp | None]
    deleted_at: Mapped[Timestamp | None]

    __table_args__ = (
        CheckConstraint("status IN ('uploaded', 'processed', 'error')", name="status"),
        Index(
            "ix_files_project_page",
            "project_id",
            text("created_at DESC"),
            text("id DESC"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )
