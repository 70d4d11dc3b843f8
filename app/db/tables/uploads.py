"""Multi-part uploads. The bytes of a part are in storage under its `storage_key`."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, BigInt, CreatedAt, JsonList, StrEnumType, Timestamp, format_sql_values
from app.db.tables.files import FilePurpose


class UploadState(StrEnum):
    """States of an upload. `completing`, while its parts are joined, shows as `pending`."""

    PENDING = "pending"
    COMPLETING = "completing"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Upload(Base):
    """`bytes` is the total size that its parts must have; it expires at `expires_at`.

    While it is `completing`, the request with the token `claim` joins the parts. `claimed_until` is
    its lease: once that has expired, another request may take over.
    """

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    filename: Mapped[str]
    purpose: Mapped[FilePurpose] = mapped_column(StrEnumType(FilePurpose))
    bytes: Mapped[BigInt]
    # Lifetime of the resulting file.
    expires_after_seconds: Mapped[int | None]
    state: Mapped[UploadState] = mapped_column(StrEnumType(UploadState))
    claim: Mapped[str | None]
    claimed_until: Mapped[Timestamp | None]
    # Arguments of its completion, to recognize a retry of the same request.
    part_ids: Mapped[JsonList | None]
    md5: Mapped[str | None]
    file_id: Mapped[str | None] = mapped_column(ForeignKey("files.id"))
    # Totals of the parts ever added, kept by a trigger; `unique_part_bytes` without parts that were
    # sent again.
    part_count: Mapped[int] = mapped_column(server_default="0")
    part_bytes: Mapped[BigInt] = mapped_column(server_default="0")
    unique_part_bytes: Mapped[BigInt] = mapped_column(server_default="0")
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Timestamp]

    __table_args__ = (
        CheckConstraint(f"state IN {format_sql_values(UploadState)}", name="state"),
        Index(
            "ix_uploads_open",
            "expires_at",
            postgresql_where=text("state IN ('pending', 'completing')"),
        ),
        Index(None, "project_id"),
        Index("ix_uploads_file_id", "file_id", postgresql_where=text("file_id IS NOT NULL")),
    )


class UploadPart(Base):
    """A part; its row and its bytes are deleted once the upload has ended."""

    __tablename__ = "upload_parts"

    id: Mapped[str] = mapped_column(primary_key=True)
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id"))
    bytes: Mapped[BigInt]
    # Identifies a part that was sent again; null in rows of older versions.
    sha256: Mapped[str | None]
    storage_key: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[CreatedAt]

    # Also finds a part that was sent before.
    __table_args__ = (Index(None, "upload_id", "sha256"),)
