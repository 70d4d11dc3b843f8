"""Audit log of an organization: list, newest first, by filters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, false, or_, select, tuple_
from sqlalchemy.orm import Session

from app.db import pagination
from app.db.pagination import EMPTY_PAGE, Page
from app.db.tables import AuditActor, AuditLog, Project
from app.organization.serializers import OPERATOR_EMAIL, OPERATOR_ID


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Records of these values; None is any. `before` is exclusive."""

    since: datetime | None = None
    before: datetime | None = None
    project_ids: Sequence[str] | None = None
    events: Sequence[str] | None = None
    actor_ids: Sequence[str] | None = None
    actor_emails: Sequence[str] | None = None
    resource_ids: Sequence[str] | None = None
    tenant_only: bool = False

    def conditions(self) -> list[ColumnElement[bool]]:
        lists = (
            (AuditLog.project_id, self.project_ids),
            (AuditLog.event, self.events),
            (AuditLog.resource_id, self.resource_ids),
        )
        found: list[ColumnElement[bool]] = [
            column.in_(values) for column, values in lists if values is not None
        ]
        by_key = AuditLog.actor == AuditActor.API_KEY
        if self.actor_ids is not None:
            of_operator = by_key if OPERATOR_ID in self.actor_ids else false()
            found.append(or_(AuditLog.actor_id.in_(self.actor_ids), of_operator))
        if self.actor_emails is not None:
            found.append(by_key if OPERATOR_EMAIL in self.actor_emails else false())
        if self.tenant_only:
            # None is of OpenAI's tenants.
            found.append(false())
        if self.since is not None:
            found.append(AuditLog.created_at >= self.since)
        if self.before is not None:
            found.append(AuditLog.created_at < self.before)
        return found


def list_records(
    session: Session,
    organization_id: str,
    chosen: AuditFilter,
    *,
    after: str | None,
    before: str | None,
    limit: int,
) -> Page[AuditLog]:
    """List a page of an organization's records, newest first.

    `after` and `before` are ids of records; the page of `before` is the one that ends before it.
    """
    of_organization = select(AuditLog).where(AuditLog.organization_id == organization_id)
    statement: Select[AuditLog] = of_organization.where(*chosen.conditions())
    position = tuple_(AuditLog.created_at, AuditLog.id)
    if before is not None:
        cursor = pagination.find_cursor_row(session, of_organization.where(AuditLog.id == before))
        if cursor is None:
            return EMPTY_PAGE
        statement = statement.where(position > (cursor.created_at, cursor.id))
    is_backwards = before is not None and after is None
    page = pagination.fetch_page_by_age(
        session,
        statement,
        cursor_rows=of_organization,
        after=after,
        limit=limit,
        oldest_first=is_backwards,
    )
    return Page(page.rows[::-1], page.has_more) if is_backwards else page


def find_project_names(session: Session, rows: Sequence[AuditLog]) -> dict[str, str]:
    """Names of the records' projects, by id."""
    projects = select(Project.id, Project.name).where(
        Project.id.in_({row.project_id for row in rows if row.project_id is not None})
    )
    return {row.id: row.name for row in session.execute(projects)}
