"""Sessions of the web console, and the one-time codes that start them."""

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, JsonList, Timestamp


class ConsoleSession(Base):
    """A browser that has logged in. The secret in its cookie is stored as a hash.

    It acts for a project, for the organization (an admin), or for both. With a key, it ends when
    the key does; without one, it is that of `subject`: a user of the machine, who ran
    `luthier console`, or one whom an identity provider vouched for.
    """

    __tablename__ = "console_sessions"

    id: Mapped[str] = mapped_column(primary_key=True)
    secret_sha256: Mapped[bytes] = mapped_column(index=True, unique=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    project_id: Mapped[str | None] = mapped_column(ForeignKey("projects.id"))
    is_admin: Mapped[bool]
    api_key_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"))
    admin_key_id: Mapped[str | None] = mapped_column(ForeignKey("admin_keys.id"))
    subject: Mapped[str | None]
    # The projects between which a user of an identity provider may switch.
    project_ids: Mapped[JsonList | None]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Timestamp] = mapped_column(index=True)
    revoked_at: Mapped[Timestamp | None]

    __table_args__ = (CheckConstraint("project_id IS NOT NULL OR is_admin", name="role"),)


class ConsoleLoginCode(Base):
    """A code, stored as a hash, that logs in once with the keys' rights; deleted by its use."""

    __tablename__ = "console_login_codes"

    secret_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"))
    project_id: Mapped[str | None] = mapped_column(ForeignKey("projects.id"))
    is_admin: Mapped[bool]
    api_key_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"))
    admin_key_id: Mapped[str | None] = mapped_column(ForeignKey("admin_keys.id"))
    subject: Mapped[str | None]
    expires_at: Mapped[Timestamp] = mapped_column(index=True)
