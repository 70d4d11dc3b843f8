"""Idempotency keys: stored responses, replayed when a client retries a request."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, JsonObject


class IdempotencyRecord(Base):
    """`key` is the client's Idempotency-Key, or derived from the request if it sent none."""

    __tablename__ = "idempotency_keys"

    # A project, or for an admin key its organization; hence no foreign key.
    owner_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    # Fingerprint of the request, to reject a key that is reused for another one.
    request_sha256: Mapped[str]
    response_status: Mapped[int] = mapped_column(server_default="200")
    response_body: Mapped[JsonObject]
    created_at: Mapped[CreatedAt]

    __table_args__ = (Index(None, "created_at"),)
