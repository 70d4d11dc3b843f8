"""Log of changes of objects, for those who watch them. Written by triggers, kept for minutes."""

from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, BigInt, CreatedAt


class ChangeRecord(Base):
    """An object was created or changed. Of a transaction and an object, one or more rows.

    Without foreign keys: rows of deleted objects are pruned like the others.
    """

    __tablename__ = "changes"

    seq: Mapped[BigInt] = mapped_column(primary_key=True)
    project_id: Mapped[str]
    # A `NoticeType` of `app.changes.schemas`.
    type: Mapped[str]
    object_id: Mapped[str]
    created_at: Mapped[CreatedAt]
