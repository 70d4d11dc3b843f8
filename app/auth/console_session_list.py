"""List of the sessions of the web console, for admins."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.tables import AdminKey, ApiKey, ConsoleSession, Project


@dataclass(frozen=True, slots=True)
class ActiveSession:
    """A session as admins see it. `user` is its subject, or the names of its keys."""

    id: str
    user: str
    project_name: str | None
    is_admin: bool
    created_at: datetime
    expires_at: datetime


def list_active(session: Session, organization_id: str, *, limit: int) -> list[ActiveSession]:
    """List the sessions of an organization that have not ended, the newest first."""
    keys = func.concat_ws(", ", ApiKey.name, AdminKey.name)
    rows = session.execute(
        select(
            ConsoleSession.id,
            func.coalesce(ConsoleSession.subject, keys),
            Project.name,
            ConsoleSession.is_admin,
            ConsoleSession.created_at,
            ConsoleSession.expires_at,
        )
        .outerjoin(Project, Project.id == ConsoleSession.project_id)
        .outerjoin(ApiKey, ApiKey.id == ConsoleSession.api_key_id)
        .outerjoin(AdminKey, AdminKey.id == ConsoleSession.admin_key_id)
        .where(
            ConsoleSession.organization_id == organization_id,
            ConsoleSession.revoked_at.is_(None),
            ConsoleSession.expires_at > func.clock_timestamp(),
        )
        .order_by(ConsoleSession.created_at.desc(), ConsoleSession.id)
        .limit(limit)
    )
    return [ActiveSession(*row) for row in rows]
