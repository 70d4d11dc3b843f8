"""Tenants: organizations, their projects and service accounts, and the keys that give access."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.base import Base, BigInt, CreatedAt, StrEnumType, Timestamp, format_sql_values


class ServiceAccountRole(StrEnum):
    """OpenAI's roles. An account without a role has no keys; the other roles are equivalent."""

    OWNER = "owner"
    MEMBER = "member"
    NONE = "none"


class Organization(Base):
    __tablename__ = "organizations"

    id: Mapped[str] = mapped_column(primary_key=True)
    # The organization part of its fine-tuned models' names.
    slug: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[CreatedAt]


class Project(Base):
    """An archived project keeps what was created in it, but no key gives access to it.

    Retention may delete its files and models (`app.operations.archived_projects`).
    """

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    name: Mapped[str]
    created_at: Mapped[CreatedAt]
    # When a trainer last acquired one of its jobs: the queue is fair across projects.
    last_served_at: Mapped[Timestamp | None]
    # Start-time fair queuing, in seconds of a trainer: the time used so far, raised to the queue's
    # own when the project becomes active, and its value when the project was last served.
    virtual_time: Mapped[float] = mapped_column(server_default="0")
    virtual_start: Mapped[float] = mapped_column(server_default="0")
    # Overrides of the limits in the settings; 0 is no limit.
    max_running_jobs: Mapped[int | None]
    max_queued_jobs: Mapped[int | None]
    max_storage_bytes: Mapped[BigInt | None]
    max_files: Mapped[BigInt | None]
    max_open_uploads: Mapped[BigInt | None]
    archived_at: Mapped[Timestamp | None]

    __table_args__ = (
        Index(
            "ix_projects_organization_page",
            "organization_id",
            text("created_at DESC"),
            text("id DESC"),
        ),
    )


class ServiceAccount(Base):
    """A program that owns keys of a project, so that all of them can be revoked together."""

    __tablename__ = "service_accounts"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    role: Mapped[ServiceAccountRole] = mapped_column(StrEnumType(ServiceAccountRole))
    created_at: Mapped[CreatedAt]
    deleted_at: Mapped[Timestamp | None]

    __table_args__ = (
        CheckConstraint(f"role IN {format_sql_values(ServiceAccountRole)}", name="role"),
        Index(None, "project_id", "created_at", "id"),
    )


class KeyMixin:
    """A key is shown once, and stored as the SHA-256 of its 256 random bits (no salt is needed)."""

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    secret_sha256: Mapped[bytes] = mapped_column(index=True, unique=True)
    redacted: Mapped[str]
    created_at: Mapped[CreatedAt]
    last_used_at: Mapped[Timestamp | None]
    expires_at: Mapped[Timestamp | None]
    revoked_at: Mapped[Timestamp | None]


class ApiKey(KeyMixin, Base):
    """A key of a project. Without a service account it is the operator's own."""

    __tablename__ = "api_keys"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    service_account_id: Mapped[str | None] = mapped_column(ForeignKey("service_accounts.id"))
    service_account: Mapped[ServiceAccount | None] = relationship(lazy="joined")

    __table_args__ = (Index(None, "project_id", "created_at", "id"),)


class AdminKey(KeyMixin, Base):
    """A key of an organization. It gives access to the admin API and nothing else."""

    __tablename__ = "admin_keys"

    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
