"""Record of changes in the audit log, in the transaction of the change: both happen, or neither."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app import ids
from app.auth.principals import AdminPrincipal
from app.db import clock
from app.db.tables import AuditActor, AuditEvent, AuditLog


@dataclass(frozen=True, slots=True)
class CommandUser:
    """A user of the machine who runs a command of the organization."""

    name: str
    organization_id: str


def record(
    session: Session,
    actor: AdminPrincipal | CommandUser,
    event: AuditEvent,
    resource_id: str,
    *,
    project_id: str | None = None,
    data: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Add a record. `data` is what something was created with, `changes` what was asked for.

    Values of None were not given, and are left out.
    """
    details = {"data": data, "changes_requested": changes}
    user = actor.user if isinstance(actor, AdminPrincipal) else actor.name
    session.add(
        AuditLog(
            id=ids.audit_log_id(),
            organization_id=actor.organization_id,
            project_id=project_id,
            event=event,
            actor=AuditActor.API_KEY if user is None else AuditActor.SESSION,
            actor_id=actor.key_id if isinstance(actor, AdminPrincipal) and user is None else user,
            resource_id=resource_id,
            details={
                name: {key: value for key, value in values.items() if value is not None}
                for name, values in details.items()
                if values is not None
            },
        )
    )


def delete_old(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of records that were written more than `days` ago."""
    is_old = AuditLog.created_at < clock.subtract_from_now(timedelta(days=days))
    batch = select(AuditLog.id).where(is_old).limit(limit)
    statement = delete(AuditLog).where(AuditLog.id.in_(batch)).returning(AuditLog.id)
    return len(session.scalars(statement).all())
