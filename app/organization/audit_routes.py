"""Route of OpenAI's audit log: what admin keys and commands have changed in the organization."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from app.errors import InvalidRequest
from app.http.dependencies import AdminDep, AfterCursor, ReadSessionDep
from app.http.openapi import DocumentedRoute
from app.organization import audit_logs, serializers
from app.organization.audit_logs import AuditFilter
from app.organization.audit_schemas import AuditLogList
from app.wire.base import page_cursors

router = APIRouter(prefix="/v1/organization", tags=["organization"], route_class=DocumentedRoute)

MAX_VALUES = 100
# Unix seconds whose next one Postgres and Python know too, at the end of the year 9999.
MAX_TIME = 253_402_300_798
Values = Annotated[list[Annotated[str, Query(max_length=256)]] | None, Query(max_length=MAX_VALUES)]


def _bound(name: str) -> Any:
    return Query(alias=f"effective_at[{name}]", ge=0, le=MAX_TIME, description="Unix seconds")


Bound = int | None
BOUNDS = frozenset(f"effective_at[{name}]" for name in ("gt", "gte", "lt", "lte"))


def _reject_unknown_bounds(request: Request) -> None:
    """Raise InvalidRequest for another `effective_at`: ignoring it would list other records."""
    for name in request.query_params:
        if name.startswith("effective_at") and name not in BOUNDS:
            raise InvalidRequest(
                "Invalid 'effective_at': write `effective_at[gte]=…`; the bounds are gt, gte, lt "
                "and lte, in Unix seconds.",
                param="effective_at",
                code="invalid_value",
            )


@router.get("/audit_logs", dependencies=[Depends(_reject_unknown_bounds)])
def list_audit_logs(
    admin: AdminDep,
    session: ReadSessionDep,
    limit: Annotated[int, Query(ge=0, le=100)] = 20,
    after: AfterCursor = None,
    before: Annotated[str | None, Query(description="The first id of the next page")] = None,
    gt: Annotated[Bound, _bound("gt")] = None,
    gte: Annotated[Bound, _bound("gte")] = None,
    lt: Annotated[Bound, _bound("lt")] = None,
    lte: Annotated[Bound, _bound("lte")] = None,
    project_ids: Values = None,
    event_types: Values = None,
    actor_ids: Values = None,
    actor_emails: Values = None,
    resource_ids: Values = None,
    tenant_only: bool = False,
) -> AuditLogList:
    """List what admin keys and commands changed, newest first."""
    # Times on the wire are whole seconds, of which records have fractions.
    since = [bound for bound in (gte, None if gt is None else gt + 1) if bound is not None]
    until = [bound for bound in (lt, None if lte is None else lte + 1) if bound is not None]
    chosen = AuditFilter(
        since=max(since, default=None),
        before=min(until, default=None),
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
