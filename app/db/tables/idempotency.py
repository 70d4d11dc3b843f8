"""Requests that were answered and may come again, since their client did not hear the answer."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, JsonObject


class IdempotencyRecord(Base):
    """`key` is the client's Idempotency-Key, or made of the request itself if it sent none."""

    __tablename__ = "idempotency_keys"

    # A project, or an organization where an admin key asks; hence no foreign key. The column's name
    # is from when only projects asked, and older processes use it.
    owner_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    # Of what was asked for: the same key must not stand for two requests.
    request_sha256: Mapped[str]
    response_status: Mapped[int] = mapped_column(server_default="200")
    response_body: Mapped[JsonObject]
    created_at: Mapped[CreatedAt]

    __table_args__ = (Index(None, "created_at"),)
