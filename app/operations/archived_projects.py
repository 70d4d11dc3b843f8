"""Archived projects: after a while their files and models are deleted from storage.

Nobody can use or delete them any more. Models that another project has permission to use stay.
"""

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db import clock
from app.db.tables import (
    CheckpointPermission,
    EvalRun,
    File,
    FineTunedModel,
    ModelAlias,
    Project,
    StoredCompletion,
)
from app.evals import deletion as evals
from app.files import service
from app.models import deletion


def delete_files(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of files of projects that were archived more than `days` ago."""
    files = session.scalars(
        select(File)
        .join(Project, Project.id == File.project_id)
        .where(File.deleted_at.is_(None), _was_archived_before(days))
        .limit(limit)
        .with_for_update(of=File, skip_locked=True)
    ).all()
    for file in files:
        service.erase(session, file)
    return len(files)


def delete_models(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of models of projects that were archived more than `days` ago."""
    models = session.scalars(
        select(FineTunedModel)
        .join(Project, Project.id == FineTunedModel.project_id)
        .where(
            FineTunedModel.deleted_at.is_(None),
            _was_archived_before(days),
            ~_is_shared(),
            ~deletion.is_in_use(FineTunedModel.name),
        )
        .limit(limit)
        .with_for_update(of=FineTunedModel, skip_locked=True)
    ).all()
    for model in models:
        deletion.mark_deleted(session, model)
    return len(models)


def delete_aliases(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of aliases of projects that were archived more than `days` ago."""
    return _delete_rows(session, ModelAlias, ModelAlias.name, days=days, limit=limit)


def delete_stored_completions(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of completions of projects that were archived more than `days` ago."""
    return _delete_rows(session, StoredCompletion, StoredCompletion.id, days=days, limit=limit)


def delete_eval_runs(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of eval runs of projects that were archived more than `days` ago."""
    gone = (
        select(EvalRun.id)
        .join(Project, Project.id == EvalRun.project_id)
        .where(EvalRun.deleted_at.is_(None), _was_archived_before(days))
        .limit(limit)
    )
    found = session.scalars(gone).all()
    evals.erase_runs(session, EvalRun.id.in_(found))
    return len(found)


def _delete_rows(
    session: Session,
    table: type[ModelAlias] | type[StoredCompletion],
    name: InstrumentedAttribute[str],
    *,
    days: float,
    limit: int,
) -> int:
    """Delete a batch of rows, which `name` identifies within their project."""
    key = (table.project_id, name)
    gone = (
        select(*key)
        .join(Project, Project.id == table.project_id)
        .where(_was_archived_before(days))
        .limit(limit)
    )
    statement = delete(table).where(tuple_(*key).in_(gone))
    return len(session.execute(statement.returning(name)).all())


def _was_archived_before(days: float) -> ColumnElement[bool]:
    return Project.archived_at < clock.subtract_from_now(timedelta(days=days))


def _is_shared() -> ColumnElement[bool]:
    """Build the condition that a project which is not archived may use the model."""
    permitted = Project.__table__.alias("permitted")
    shared = (
        select(CheckpointPermission.id)
        .join(permitted, permitted.c.id == CheckpointPermission.project_id)
        .where(
            CheckpointPermission.model_name == FineTunedModel.name,
            permitted.c.archived_at.is_(None),
        )
    )
    return shared.exists()
