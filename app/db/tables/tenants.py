"""Who owns what: organizations, their projects, and the keys that speak for them."""

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.base import Base, CreatedAt, Timestamp

SERVICE_ACCOUNT_ROLES = ("owner", "member", "none")


class Organization(Base):
    __tablename__ = "organizations"

    id: Mapped[str] = mapped_column(primary_key=True)
    # Third part of its tuned models' names.
    slug: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[CreatedAt]


class Project(Base):
    """An archived project stays, with all that was made in it, and nobody can act for it."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    name: Mapped[str]
    created_at: Mapped[CreatedAt]
    # When a worker last took one of its jobs: projects take turns.
    last_served_at: Mapped[Timestamp | None]
    # Limits of its own in place of the settings'; 0 is no limit.
    max_running_jobs: Mapped[int | None]
    max_queued_jobs: Mapped[int | None]
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
    """Whom a project's keys belong to, so that those of one program can be ended together."""

    __tablename__ = "service_accounts"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    role: Mapped[str]
    created_at: Mapped[CreatedAt]
    deleted_at: Mapped[Timestamp | None]

    __table_args__ = (
        CheckConstraint(f"role IN {SERVICE_ACCOUNT_ROLES}", name="role"),
        Index(None, "project_id", "created_at", "id"),
    )


class KeyMixin:
    """A key is shown once and kept as the SHA-256 of its 256 random bits (no salt is needed)."""

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
    """A key of an organization: it opens the routes that manage projects, and no other."""

    __tablename__ = "admin_keys"

    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
