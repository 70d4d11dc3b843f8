"""Token usage: what the requests of each minute sent and received, by key and model."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, BigInt, StrEnumType, Timestamp, format_sql_values


class UsageKind(StrEnum):
    """Kind of the requests, as OpenAI's usage endpoints tell them apart."""

    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"


class TokenUsage(Base):
    """Tokens and requests of one minute, or of one hour once the minutes are old.

    `input_tokens` includes the cached ones. No foreign keys: counts are written in batches, which a
    deleted key or model must not fail, and they outlive what they count.
    """

    __tablename__ = "token_usage"

    started_at: Mapped[Timestamp] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(primary_key=True)
    api_key_id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[UsageKind] = mapped_column(StrEnumType(UsageKind), primary_key=True)
    is_batch: Mapped[bool] = mapped_column(primary_key=True)
    requests: Mapped[BigInt]
    input_tokens: Mapped[BigInt]
    cached_tokens: Mapped[BigInt]
    output_tokens: Mapped[BigInt]

    __table_args__ = (
        CheckConstraint(f"kind IN {format_sql_values(UsageKind)}", name="kind"),
        Index(None, "project_id", "started_at"),
    )
