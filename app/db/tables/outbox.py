"""The transactional outbox: side effects to perform after a commit."""

from enum import StrEnum
from typing import Any

from sqlalchemy import Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, BigInt, CreatedAt, Timestamp


class OutboxKind(StrEnum):
    """Kinds of side effects. `notify`: notify the workers of a task."""

    NOTIFY = "notify"
    DELETE_BLOBS = "delete_blobs"


class WorkerTask(StrEnum):
    """Tasks that a notification can be for; `app.broker` has the queue of each."""

    TRAIN = "train"
    VALIDATE = "validate"
    DELIVER = "deliver"
    WORK = "work"


class Outbox(Base):
    """A side effect to perform after the commit; `kind` is an OutboxKind, or a newer version's."""

    __tablename__ = "outbox"

    id: Mapped[BigInt] = mapped_column(primary_key=True, autoincrement=True)
    kind: Mapped[str]
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[CreatedAt]
    available_at: Mapped[CreatedAt]
    attempts: Mapped[int] = mapped_column(server_default="0")
    done_at: Mapped[Timestamp | None]

    __table_args__ = (
        Index("ix_outbox_open", "available_at", postgresql_where=text("done_at IS NULL")),
    )
