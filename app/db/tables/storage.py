"""Stored bytes of projects, and the identity of the storage that belongs to this database."""

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, BigInt, CreatedAt, Timestamp


class StorageUsage(Base):
    """A change of a project's stored bytes and files; their sums are the project's usage.

    Triggers on `files`, `upload_parts` and `checkpoints` append rows; `app.files.quota` merges
    them. A row with `expires_at` is a reservation of an upload in progress, void after that time.
    """

    __tablename__ = "storage_usage"

    id: Mapped[BigInt] = mapped_column(primary_key=True, autoincrement=True)
    project_id: Mapped[str] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), index=True
    )
    bytes: Mapped[BigInt]
    files: Mapped[BigInt]
    expires_at: Mapped[Timestamp | None]


class StorageIdentity(Base):
    """The only row: `marker` is the content of the marker object of this database's storage."""

    __tablename__ = "storage_identity"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    marker: Mapped[str]
    created_at: Mapped[CreatedAt]

    __table_args__ = (CheckConstraint("id = 1", name="single_row"),)
