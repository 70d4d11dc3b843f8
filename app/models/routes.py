"""Routes of /v1/models, /v1/aliases and /v1/fine_tuning/checkpoints/{checkpoint}/permissions."""

from typing import Annotated, Literal

from fastapi import APIRouter, BackgroundTasks, Depends, Query, Request
from sqlalchemy.orm import Session

from app.auth import audit_log
from app.catalog import Catalog
from app.db.tables import AuditEvent, ModelAlias
from app.http.dependencies import (
    AdminDep,
    AfterCursor,
    AppStateDep,
    PrincipalDep,
    ReadSessionDep,
    SessionDep,
)
from app.http.idempotency import IDEMPOTENT, IdempotentRoute
from app.http.openapi import DocumentedRoute
from app.models import aliases, deletion, permissions, registry
from app.models.deletion import AdapterUnloader
from app.models.schemas import (
    AliasDeleted,
    AliasList,
    AliasObject,
    CreateAlias,
    CreatePermissions,
    ModelDeleted,
    ModelList,
    ModelObject,
    PermissionDeleted,
    PermissionList,
    PermissionObject,
    UpdateAlias,
)
from app.models.serializers import serialize_alias, serialize_model
from app.wire.base import page_cursors

# Model names contain '/' and ':', and servers decode %2F before routing; hence `:path`.
router = APIRouter(prefix="/v1/models", tags=["models"], route_class=DocumentedRoute)
aliases_router = APIRouter(prefix="/v1/aliases", tags=["models"], route_class=IdempotentRoute)
permissions_router = APIRouter(
    prefix="/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint:path}/permissions",
    tags=["fine-tuning"],
    route_class=IdempotentRoute,
)


# Async, because FastAPI would run a plain function in a worker thread.
async def get_unloader(request: Request) -> AdapterUnloader:
    unloader: AdapterUnloader = request.app.state.engines
    return unloader


Include = Annotated[
    list[Literal["details"]] | None,
    Query(
        max_length=10,
        description="Extension: `details` adds the base model, its context, and usable methods.",
    ),
]
UnloaderDep = Annotated[AdapterUnloader, Depends(get_unloader)]


@router.get("")
def list_models(
    state: AppStateDep,
    principal: PrincipalDep,
    session: ReadSessionDep,
    include: Include = None,
) -> ModelList:
    """List base models, also by their aliases, and the project's fine-tuned models."""
    owner, with_details = principal.organization_slug, bool(include)
    models = registry.list_(session, state.catalog, principal.project_id, with_details=with_details)
    return ModelList(
        data=[serialize_model(entry, owner, with_details=with_details) for entry in models]
    )


@router.get("/{model:path}")
def retrieve_model(
    model: str,
    state: AppStateDep,
    principal: PrincipalDep,
    session: ReadSessionDep,
    include: Include = None,
) -> ModelObject:
    with_details = bool(include)
    entry = registry.retrieve(
        session, state.catalog, principal.project_id, model, with_details=with_details
    )
    return serialize_model(entry, principal.organization_slug, with_details=with_details)


@router.delete("/{model:path}")
def delete_model(
    model: str,
    state: AppStateDep,
    unloader: UnloaderDep,
    principal: PrincipalDep,
    session: SessionDep,
    background: BackgroundTasks,
) -> ModelDeleted:
    """Delete a fine-tuned model, with its weights."""
    deleted = deletion.delete(session, state.catalog, principal.project_id, model)
    if deleted is not None:
        # Runs after the commit and the response: the client must not wait for the engine.
        background.add_task(unloader.unload, deleted)
    return ModelDeleted(id=model, deleted=True)


@aliases_router.post("", dependencies=[IDEMPOTENT])
def create_alias(
    body: CreateAlias, state: AppStateDep, principal: PrincipalDep, session: SessionDep
) -> AliasObject:
    """Give a fine-tuned model or checkpoint a short name, by which requests can name it."""
    row = aliases.create(session, state.catalog, principal.project_id, body)
    return _serialize_aliases(session, state.catalog, [row])[0]


@aliases_router.get("")
def list_aliases(state: AppStateDep, principal: PrincipalDep, session: ReadSessionDep) -> AliasList:
    """List all aliases of the project by name."""
    rows = aliases.list_(session, principal.project_id)
    return AliasList(data=_serialize_aliases(session, state.catalog, rows), has_more=False)


@aliases_router.get("/{alias}")
def retrieve_alias(
    alias: str, state: AppStateDep, principal: PrincipalDep, session: ReadSessionDep
) -> AliasObject:
    row = aliases.get(session, principal.project_id, alias)
    return _serialize_aliases(session, state.catalog, [row])[0]


@aliases_router.post("/{alias}")
def update_alias(
    alias: str,
    body: UpdateAlias,
    state: AppStateDep,
    principal: PrincipalDep,
    session: SessionDep,
) -> AliasObject:
    """Point an alias to another model at once: no request is without a model in between."""
    row = aliases.update(session, state.catalog, principal.project_id, alias, body.model)
    return _serialize_aliases(session, state.catalog, [row])[0]


@aliases_router.delete("/{alias}")
def delete_alias(alias: str, principal: PrincipalDep, session: SessionDep) -> AliasDeleted:
    """Delete an alias; its model stays."""
    aliases.delete(session, principal.project_id, alias)
    return AliasDeleted(name=alias, deleted=True)


@permissions_router.get("")
def list_permissions(
    fine_tuned_model_checkpoint: str,
    admin: AdminDep,
    session: ReadSessionDep,
    project_id: str | None = None,
    after: AfterCursor = None,
    limit: Annotated[int, Query(ge=0, le=1000)] = 10,
    order: Literal["ascending", "descending"] = "descending",
) -> PermissionList:
    """List permissions by creation time. Requires an admin key."""
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


@permissions_router.post("", dependencies=[IDEMPOTENT])
def create_permissions(
    fine_tuned_model_checkpoint: str,
    body: CreatePermissions,
    admin: AdminDep,
    session: SessionDep,
) -> PermissionList:
    """Let other projects of the organization use a fine-tuned model or checkpoint.

    They can run inference with it, retrieve it, and start jobs from it. Requires an admin key.
    """
    rows = permissions.create(
        session, admin.organization_id, fine_tuned_model_checkpoint, body.project_ids
    )
    for row in rows:
        audit_log.record(
            session,
            admin,
            AuditEvent.PERMISSION_CREATED,
            row.id,
            project_id=row.project_id,
            data={
                "fine_tuned_model_checkpoint": fine_tuned_model_checkpoint,
                "project_id": row.project_id,
            },
        )
    data = [PermissionObject.model_validate(row) for row in rows]
    return PermissionList(data=data, has_more=False, **page_cursors(data))


@permissions_router.delete("/{permission_id}")
def delete_permission(
    fine_tuned_model_checkpoint: str,
    permission_id: str,
    admin: AdminDep,
    session: SessionDep,
) -> PermissionDeleted:
    """Revoke a permission. Requires an admin key."""
    permissions.delete(session, admin.organization_id, fine_tuned_model_checkpoint, permission_id)
    audit_log.record(session, admin, AuditEvent.PERMISSION_DELETED, permission_id)
    return PermissionDeleted(id=permission_id, deleted=True)


def _serialize_aliases(
    session: Session, catalog: Catalog, rows: list[ModelAlias]
) -> list[AliasObject]:
    """Serialize aliases of one project."""
    project_id = next((row.project_id for row in rows), "")
    statuses = aliases.find_statuses(session, catalog, project_id, rows)
    return [serialize_alias(row, statuses[row.name]) for row in rows]
