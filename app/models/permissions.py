"""Permissions that let other projects of the organization use a model or checkpoint."""

from collections.abc import Iterable
from typing import Literal

from sqlalchemy import delete as delete_rows
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import ids
from app.auth import projects
from app.db import pagination
from app.db.pagination import Page
from app.db.tables import CheckpointPermission, FineTunedModel, Project
from app.errors import ModelNotFound, NotFound


def create(
    session: Session, organization_id: str, model: str, project_ids: Iterable[str]
) -> list[CheckpointPermission]:
    """Permit projects to use a model; return one permission per project, in their order.

    Existing permissions are kept. Raises NotFound, and InvalidRequest for an archived
    project.
    """
    _require_model(session, organization_id, model)
    unique_ids = list(dict.fromkeys(project_ids))
    for project_id in unique_ids:
        projects.get_active(session, organization_id, project_id)
        session.execute(
            insert(CheckpointPermission)
            .values(id=ids.permission_id(), model_name=model, project_id=project_id)
            .on_conflict_do_nothing(index_elements=["model_name", "project_id"])
        )
    rows = session.scalars(
        select(CheckpointPermission).where(
            CheckpointPermission.model_name == model,
            CheckpointPermission.project_id.in_(unique_ids),
        )
    )
    return sorted(rows, key=lambda row: unique_ids.index(row.project_id))


def list_(
    session: Session,
    organization_id: str,
    model: str,
    *,
    project_id: str | None,
    order: Literal["ascending", "descending"],
    after: str | None,
    limit: int,
) -> Page[CheckpointPermission]:
    """List a model's permissions, optionally of one project. Raises NotFound."""
    _require_model(session, organization_id, model)
    granted = select(CheckpointPermission).where(CheckpointPermission.model_name == model)
    statement = granted
    if project_id is not None:
        projects.get(session, organization_id, project_id)
        statement = statement.where(CheckpointPermission.project_id == project_id)
    return pagination.fetch_page_by_age(
        session,
        statement,
        cursor_rows=granted,
        after=after,
        limit=limit,
        oldest_first=order == "ascending",
    )


def delete(session: Session, organization_id: str, model: str, permission_id: str) -> None:
    """Revoke a permission, effective with the commit. Raises NotFound."""
    _require_model(session, organization_id, model)
    deleted = session.scalars(
        delete_rows(CheckpointPermission)
        .where(CheckpointPermission.id == permission_id, CheckpointPermission.model_name == model)
        .returning(CheckpointPermission.id)
    ).one_or_none()
    if deleted is None:
        raise NotFound(f"No such permission: {permission_id}", param="permission_id")


def _require_model(session: Session, organization_id: str, model: str) -> None:
    """Raise ModelNotFound unless a project of the organization owns the model."""
    name = session.scalars(
        select(FineTunedModel.name)
        .join(Project, Project.id == FineTunedModel.project_id)
        .where(
            FineTunedModel.name == model,
            FineTunedModel.deleted_at.is_(None),
            Project.organization_id == organization_id,
        )
    ).one_or_none()
    if name is None:
        raise ModelNotFound(model)
