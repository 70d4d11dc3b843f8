"""Webhook endpoints of projects, deliveries to them, and delivery attempts."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, BigInt, CreatedAt, JsonList, StrEnumType, Timestamp, format_sql_values


class WebhookEndpoint(Base):
    """Its secrets are stored in plain text, since HMAC signing needs the secrets themselves."""

    __tablename__ = "webhook_endpoints"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    url: Mapped[str]
    event_types: Mapped[JsonList]
    secret: Mapped[str]
    # Also signs until `old_secret_until`, to give receivers time to switch to the new secret.
    old_secret: Mapped[str | None]
    old_secret_until: Mapped[Timestamp | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    # Set when it responds 410 Gone: its owner wants no more events.
    disabled_at: Mapped[Timestamp | None]

    __table_args__ = (
        Index(
            "ix_webhook_endpoints_project_page",
            "project_id",
            text("created_at DESC"),
            text("id DESC"),
        ),
    )


class DeliveryState(StrEnum):
    """States of a webhook delivery."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class WebhookDelivery(Base):
    """One event for one endpoint. `body` is signed and sent byte for byte.

    `next_attempt_at` is set while it is pending; `claimed_until`, a lease, during an attempt.
    """

    __tablename__ = "webhook_deliveries"

    id: Mapped[str] = mapped_column(primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    # The same in all attempts and for all endpoints, for receivers to deduplicate by.
    event_id: Mapped[str]
    event_type: Mapped[str]
    body: Mapped[str]
    state: Mapped[DeliveryState] = mapped_column(
        StrEnumType(DeliveryState), server_default="pending"
    )
    attempts: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[CreatedAt]
    next_attempt_at: Mapped[Timestamp | None]
    claimed_until: Mapped[Timestamp | None]

    __table_args__ = (
        CheckConstraint(f"state IN {format_sql_values(DeliveryState)}", name="state"),
        UniqueConstraint("endpoint_id", "event_id"),
        Index(
            "ix_webhook_deliveries_due",
            "next_attempt_at",
            postgresql_where=text("state = 'pending'"),
        ),
        Index(
            "ix_webhook_deliveries_page",
            "endpoint_id",
            text("created_at DESC"),
            text("id DESC"),
        ),
    )


class WebhookAttempt(Base):
    """One attempt. Only the status of the receiver's response is stored."""

    __tablename__ = "webhook_attempts"

    delivery_id: Mapped[str] = mapped_column(
        ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ended_at: Mapped[CreatedAt]
    milliseconds: Mapped[BigInt]
    status: Mapped[int | None]
    error: Mapped[str | None]
