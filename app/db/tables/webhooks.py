"""Where projects want to be told of their jobs' ends, and what was told to whom."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, BigInt, CreatedAt, JsonList, StrEnumType, Timestamp, sql_values


class WebhookEndpoint(Base):
    """Its secrets are kept as they are: signing takes the secret itself, not a hash of it."""

    __tablename__ = "webhook_endpoints"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    url: Mapped[str]
    event_types: Mapped[JsonList]
    secret: Mapped[str]
    # Signs too until its time is over, so that receivers can change to the new one in between.
    old_secret: Mapped[str | None]
    old_secret_until: Mapped[Timestamp | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    # It has answered 410: its owner does not want to be told any more.
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
    """One event on its way to one endpoint. `body` is what is signed, byte for byte.

    `next_at` is set as long as it is pending; `claimed_until` while somebody is trying.
    """

    __tablename__ = "webhook_deliveries"

    id: Mapped[str] = mapped_column(primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    # The same in all tries, and for all endpoints that are told of the event.
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
        CheckConstraint(f"state IN {sql_values(DeliveryState)}", name="state"),
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
    """One try. Of the receiver's answer only the status is kept."""

    __tablename__ = "webhook_attempts"

    delivery_id: Mapped[str] = mapped_column(
        ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ended_at: Mapped[CreatedAt]
    milliseconds: Mapped[BigInt]
    status: Mapped[int | None]
    error: Mapped[str | None]
