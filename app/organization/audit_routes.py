"""Route of OpenAI's audit log: what admin keys and commands have changed in the organization."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from app.http.dependencies import AdminDep, AfterCursor, ReadSessionDep
from app.http.openapi import DocumentedRoute
from app.http.query_params import TimeRange, time_range
from app.organization import audit_logs, serializers
from app.organization.audit_logs import AuditFilter
from app.organization.audit_schemas import AuditLogList
from app.wire.base import page_cursors

router = APIRouter(prefix="/v1/organization", tags=["organization"], route_class=DocumentedRoute)

MAX_VALUES = 100
Values = Annotated[list[Annotated[str, Query(max_length=256)]] | None, Query(max_length=MAX_VALUES)]


@router.get("/audit_logs")
def list_audit_logs(
    admin: AdminDep,
    session: ReadSessionDep,
    effective_at: Annotated[TimeRange, Depends(time_range("effective_at"))],
    limit: Annotated[int, Query(ge=0, le=100)] = 20,
    after: AfterCursor = None,
    before: Annotated[str | None, Query(description="The first id of the next page")] = None,
    project_ids: Values = None,
    event_types: Values = None,
    actor_ids: Values = None,
    actor_emails: Values = None,
    resource_ids: Values = None,
    tenant_only: bool = False,
) -> AuditLogList:
    """List what admin keys and commands changed, newest first."""
    chosen = AuditFilter(
        since=effective_at.since,
        before=effective_at.before,
        project_ids=project_ids,
        events=event_types,
        actor_ids=actor_ids,
        actor_emails=actor_emails,
        resource_ids=resource_ids,
        tenant_only=tenant_only,
    )
    page = audit_logs.list_records(
        session, admin.organization_id, chosen, after=after, before=before, limit=limit
    )
    names = audit_logs.find_project_names(session, page.rows)
    data = [serializers.serialize_audit_log(row, names) for row in page.rows]
    return AuditLogList(data=data, has_more=page.has_more, **page_cursors(data))
