"""Responses that are stored, and those that are made in the background."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, false
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, BigInt, CreatedAt, StrEnumType, format_sql_values


class ResponseState(StrEnum):
    """States of a response, by their names on the wire."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED_RESPONSE_STATES = (ResponseState.QUEUED, ResponseState.IN_PROGRESS)


class StoredResponse(Base):
    """A response. `input` are the items of its request, `body` is the response on the wire.

    JSON as sent, loaded on demand: not JSONB, which has no NUL in texts, and another order of keys.
    `previous_id` refers to no row, since responses are deleted one by one.
    """

    __tablename__ = "responses"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    # Whose usage a response in the background is.
    api_key_id: Mapped[str | None]
    previous_id: Mapped[str | None]
    state: Mapped[ResponseState] = mapped_column(StrEnumType(ResponseState))
    is_background: Mapped[bool] = mapped_column(server_default=false())
    model: Mapped[str]
    input: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    body: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    # The request to the engine, until it is answered in the background.
    engine_request: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    bytes: Mapped[BigInt]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        CheckConstraint(f"state IN {format_sql_values(ResponseState)}", name="state"),
        Index(None, "project_id"),
        Index(None, "created_at"),
    )
