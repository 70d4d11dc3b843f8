"""Who owns what: organizations, their projects, and the projects' API keys."""

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Moment


class Organization(Base):
    __tablename__ = "organizations"

    id: Mapped[str] = mapped_column(primary_key=True)
    # Third part of its tuned models' names.
    slug: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[CreatedAt]


class Project(Base):
    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    name: Mapped[str]
    created_at: Mapped[CreatedAt]
    # When a worker last took one of its jobs: projects take turns.
    last_served_at: Mapped[Moment | None]
    # Limits of its own in place of the settings'; 0 is no limit.
    max_running_jobs: Mapped[int | None]
    max_queued_jobs: Mapped[int | None]


class ApiKey(Base):
    """A key is shown once and kept as the SHA-256 of its 256 random bits (no salt is needed)."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    secret_sha256: Mapped[bytes]
    redacted: Mapped[str]
    created_at: Mapped[CreatedAt]
    last_used_at: Mapped[Moment | None]
    revoked_at: Mapped[Moment | None]

    __table_args__ = (Index(None, "secret_sha256", unique=True),)
