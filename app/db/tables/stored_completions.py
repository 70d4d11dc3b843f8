"""Chat completions that clients asked to store, with the request that each answers."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, BigInt, CreatedAt, JsonObject, StrEnumType, format_sql_values


class Rating(StrEnum):
    """Ratings of an answer by its users."""

    GOOD = "good"
    BAD = "bad"


class StoredCompletion(Base):
    """A stored chat completion. `request` and `response` are JSON as sent, both loaded on demand.

    Not JSONB, which has no NUL in texts, and another order of keys. The id is the engine's, which
    is unique among the answers of one engine only.
    """

    __tablename__ = "stored_completions"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    user_metadata: Mapped[JsonObject]
    request: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    response: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    bytes: Mapped[BigInt]
    # Feedback: a rating, or the answer that should have been given.
    rating: Mapped[Rating | None] = mapped_column(StrEnumType(Rating))
    correction: Mapped[str | None] = mapped_column(deferred=True)
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        CheckConstraint(f"rating IN {format_sql_values(Rating)}", name="rating"),
        Index("ix_stored_completions_project_page", "project_id", "created_at", "id"),
        Index(
            "ix_stored_completions_user_metadata",
            "user_metadata",
            postgresql_using="gin",
            postgresql_ops={"user_metadata": "jsonb_path_ops"},
        ),
        Index(None, "created_at"),
    )
