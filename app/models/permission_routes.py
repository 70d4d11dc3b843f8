"""/v1/fine_tuning/checkpoints/{checkpoint}/permissions"""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from app.http.dependencies import AdminDep, AfterCursor, ReadSessionDep, SessionDep
from app.http.idempotency import IDEMPOTENT, IdempotentRoute
from app.models import permissions
from app.models.permission_schemas import (
    CreatePermissions,
    PermissionDeleted,
    PermissionList,
    PermissionObject,
)
from app.wire.base import page_cursors

# Names hold '/' and ':', and servers decode %2F before they look for the route: so they are paths.
router = APIRouter(
    prefix="/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint:path}/permissions",
    tags=["fine-tuning"],
    route_class=IdempotentRoute,
)


@router.get("")
def list_permissions(
    fine_tuned_model_checkpoint: str,
    admin: AdminDep,
    session: ReadSessionDep,
    project_id: str | None = None,
    after: AfterCursor = None,
    limit: Annotated[int, Query(ge=0, le=1000)] = 10,
    order: Literal["ascending", "descending"] = "descending",
) -> PermissionList:
    """By the time of their creation. An admin key is needed."""
    page = permissions.list_(
        session,
        admin.organization_id,
        fine_tuned_model_checkpoint,
        project_id=project_id,
        order=order,
        after=after,
        limit=limit,
    )
    data = [PermissionObject.model_validate(row) for row in page.rows]
    return PermissionList(data=data, has_more=page.has_more, **page_cursors(data))


@router.post("", dependencies=[IDEMPOTENT])
def create_permissions(
    fine_tuned_model_checkpoint: str,
    asked: CreatePermissions,
    admin: AdminDep,
    session: SessionDep,
) -> PermissionList:
    """Let other projects of the organization use a tuned model or checkpoint.

    They can ask it, look it up and train on from it. An admin key is needed.
    """
    rows = permissions.create(
        session, admin.organization_id, fine_tuned_model_checkpoint, asked.project_ids
    )
    data = [PermissionObject.model_validate(row) for row in rows]
    return PermissionList(data=data, has_more=False, **page_cursors(data))


@router.delete("/{permission_id}")
def delete_permission(
    fine_tuned_model_checkpoint: str,
    permission_id: str,
    admin: AdminDep,
    session: SessionDep,
) -> PermissionDeleted:
    """Take a permission back. An admin key is needed."""
    permissions.delete(session, admin.organization_id, fine_tuned_model_checkpoint, permission_id)
    return PermissionDeleted(id=permission_id, deleted=True)
