"""Uploaded files and result files. Their bytes are in storage under `storage_key`."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
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
from app.formats import FormatName


class FilePurpose(StrEnum):
    """OpenAI's purposes of a file. Clients cannot upload those of results, the last two."""

    ASSISTANTS = "assistants"
    BATCH = "batch"
    FINE_TUNE = "fine-tune"
    VISION = "vision"
    USER_DATA = "user_data"
    EVALS = "evals"
    FINE_TUNE_RESULTS = "fine-tune-results"
    BATCH_OUTPUT = "batch_output"


class FileStatus(StrEnum):
    """States of a file. `processed`: its validation found no errors."""

    UPLOADED = "uploaded"
    PROCESSED = "processed"
    ERROR = "error"


class File(Base):
    __tablename__ = "files"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    filename: Mapped[str]
    purpose: Mapped[FilePurpose] = mapped_column(StrEnumType(FilePurpose))
    bytes: Mapped[BigInt]
    sha256: Mapped[str]
    storage_key: Mapped[str]
    status: Mapped[FileStatus] = mapped_column(StrEnumType(FileStatus))
    status_details: Mapped[str | None]
    # Of training files, found by validation at upload: the format and the number of examples.
    format: Mapped[FormatName | None] = mapped_column(StrEnumType(FormatName))
    examples: Mapped[int | None]
    # {"count", "first": [{"line", "offset", "reason", "code"}]}, with the first 100.
    validation_errors: Mapped[JsonObject | None]
    # Labels, duplicates and warnings; see formats.dataset_summary.
    summary: Mapped[JsonObject | None]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Timestamp | None]
    deleted_at: Mapped[Timestamp | None]

    __table_args__ = (
        CheckConstraint(f"status IN {format_sql_values(FileStatus)}", name="status"),
        Index(
            "ix_files_project_page",
            "project_id",
            text("created_at DESC"),
            text("id DESC"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index(
            "ix_files_deleted_at",
            "deleted_at",
            postgresql_where=text("deleted_at IS NOT NULL"),
        ),
    )
