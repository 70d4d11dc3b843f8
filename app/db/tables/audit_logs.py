"""Audit log: who changed what of an organization, written in the transaction of the change."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, JsonObject, StrEnumType, format_sql_values


class AuditEvent(StrEnum):
    """Kinds of changes, by OpenAI's names."""

    API_KEY_CREATED = "api_key.created"
    API_KEY_UPDATED = "api_key.updated"
    API_KEY_DELETED = "api_key.deleted"
    PROJECT_CREATED = "project.created"
    PROJECT_UPDATED = "project.updated"
    PROJECT_ARCHIVED = "project.archived"
    SERVICE_ACCOUNT_CREATED = "service_account.created"
    SERVICE_ACCOUNT_UPDATED = "service_account.updated"
    SERVICE_ACCOUNT_DELETED = "service_account.deleted"
    PERMISSION_CREATED = "checkpoint.permission.created"
    PERMISSION_DELETED = "checkpoint.permission.deleted"


class AuditActor(StrEnum):
    """Kinds of actors: an admin key, or a user of the machine who runs a command."""

    API_KEY = "api_key"
    SESSION = "session"


class AuditLog(Base):
    """A change. `resource_id` is what was changed, `details` the rest of OpenAI's object about it.

    `actor_id` is the id of the key or the name of the user. Details have no secrets.
    """

    __tablename__ = "audit_logs"

    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    project_id: Mapped[str | None] = mapped_column(ForeignKey("projects.id"))
    event: Mapped[AuditEvent] = mapped_column(StrEnumType(AuditEvent))
    actor: Mapped[AuditActor] = mapped_column(StrEnumType(AuditActor))
    actor_id: Mapped[str]
    resource_id: Mapped[str]
    details: Mapped[JsonObject]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        CheckConstraint(f"actor IN {format_sql_values(AuditActor)}", name="actor"),
        Index(None, "organization_id", "created_at", "id"),
        Index(None, "created_at"),
    )
