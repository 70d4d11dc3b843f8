"""Files that arrive in parts. A part's bytes are in storage under its `storage_key`."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import (
    Base,
    BigInt,
    CreatedAt,
    JsonList,
    StrEnumType,
    Timestamp,
    sql_values,
)
from app.db.tables.files import FilePurpose


class UploadState(StrEnum):
    """States of an upload. `completing`, while its parts are joined, shows as `pending`."""

    PENDING = "pending"
    COMPLETING = "completing"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Upload(Base):
    """`bytes` is what its parts must have together, `expires_at` when it ends unless completed.

    While it is `completing`, the request that holds `claim` puts the file together; one that is
    silent until `claimed_until` has died.
    """

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    filename: Mapped[str]
    purpose: Mapped[FilePurpose] = mapped_column(StrEnumType(FilePurpose))
    bytes: Mapped[BigInt]
    # Of the file, once there is one.
    expires_after_seconds: Mapped[int | None]
    state: Mapped[UploadState] = mapped_column(StrEnumType(UploadState))
    claim: Mapped[str | None]
    claimed_until: Mapped[Timestamp | None]
    # What it was completed with, by which the same request is known when it comes again.
    part_ids: Mapped[JsonList | None]
    md5: Mapped[str | None]
    file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Timestamp]

    __table_args__ = (
        CheckConstraint(f"state IN {sql_values(UploadState)}", name="state"),
        Index(
            "ix_uploads_open",
            "expires_at",
            postgresql_where=text("state IN ('pending', 'completing')"),
        ),
        Index(None, "project_id"),
    )


class UploadPart(Base):
    """Its row goes with its bytes: when the upload has ended."""

    __tablename__ = "upload_parts"

    id: Mapped[str] = mapped_column(primary_key=True)
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id"))
    bytes: Mapped[BigInt]
    # By it a part that was sent again is known; older rows have none.
    sha256: Mapped[str | None]
    storage_key: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[CreatedAt]

    __table_args__ = (Index(None, "upload_id"),)
