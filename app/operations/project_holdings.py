"""Holdings of a project: the number and bytes of each kind of stored object, and its limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, literal, select
from sqlalchemy.orm import Session

from app.db.tables import (
    Batch,
    Checkpoint,
    Conversation,
    Eval,
    EvalOutputItem,
    EvalRun,
    File,
    FineTunedModel,
    Job,
    ModelExport,
    Organization,
    Project,
    StoredCompletion,
    StoredResponse,
    Sweep,
    Upload,
    UploadPart,
    WorkList,
    WorkRange,
)
from app.files import quota
from app.settings import Settings

NO_BYTES = literal(0)


@dataclass(frozen=True, slots=True)
class Holding:
    """Things of one kind; `bytes` is None for those that have none in the storage quota."""

    kind: str
    count: int
    bytes: int | None


@dataclass(frozen=True, slots=True)
class ProjectHoldings:
    """Holdings of a project. `used` counts against the limits, of which 0 is none."""

    project: Project
    organization_slug: str
    holdings: Sequence[Holding]
    used: quota.Usage
    max_bytes: int
    max_files: int


def list_holdings(
    session: Session, settings: Settings, project_id: str | None
) -> list[ProjectHoldings]:
    """List what one project holds, or each that is not archived, oldest first."""
    projects = select(Project, Organization.slug).join(Organization)
    if project_id is None:
        projects = projects.where(Project.archived_at.is_(None)).order_by(
            Project.created_at, Project.id
        )
    else:
        projects = projects.where(Project.id == project_id)
    return [
        _find_holdings(session, settings, project, slug)
        for project, slug in session.execute(projects).all()
    ]


def _find_holdings(
    session: Session, settings: Settings, project: Project, organization_slug: str
) -> ProjectHoldings:
    holdings = []
    for kind, statement, has_bytes in _statements(project.id):
        count, size = session.execute(statement).one()
        holdings.append(Holding(kind, count, int(size) if has_bytes else None))
    max_bytes, max_files = quota.get_limits(session, project.id, settings)
    used = quota.get_usage(session, project.id)
    return ProjectHoldings(project, organization_slug, holdings, used, max_bytes, max_files)


def _statements(project_id: str) -> list[tuple[str, Select[int, Any], bool]]:
    """Kinds, the query of their count and bytes, and whether the quota counts their bytes."""
    files = _count(File.bytes).where(File.project_id == project_id, File.deleted_at.is_(None))
    parts = (
        _count(UploadPart.bytes)
        .join(Upload, Upload.id == UploadPart.upload_id)
        .where(Upload.project_id == project_id)
    )
    checkpoints = (
        _count(Checkpoint.bytes)
        .join(Job, Job.id == Checkpoint.job_id)
        .where(Job.project_id == project_id, Checkpoint.deleted_at.is_(None))
    )
    results = (
        _count(WorkRange.bytes)
        .join(WorkList, WorkList.id == WorkRange.list_id)
        .where(WorkList.project_id == project_id)
    )
    models = _count().where(
        FineTunedModel.project_id == project_id, FineTunedModel.deleted_at.is_(None)
    )
    exports = (
        _count()
        .select_from(ModelExport)
        .join(FineTunedModel, FineTunedModel.name == ModelExport.model_name)
        .where(FineTunedModel.project_id == project_id)
    )
    evals = _count().where(Eval.project_id == project_id, Eval.deleted_at.is_(None))
    return [
        ("files", files, True),
        ("parts of uploads", parts, True),
        ("checkpoints and models' weights", checkpoints, True),
        ("stored completions", _of(StoredCompletion, project_id, StoredCompletion.bytes), True),
        ("responses", _of(StoredResponse, project_id, StoredResponse.bytes), True),
        ("conversations", _of(Conversation, project_id, Conversation.bytes), True),
        ("eval items", _of(EvalOutputItem, project_id, EvalOutputItem.bytes), True),
        ("eval runs", _of(EvalRun, project_id, EvalRun.bytes), True),
        ("ranges of work in progress", results, True),
        ("fine-tuned models", models.select_from(FineTunedModel), False),
        ("exports", exports, False),
        ("jobs", _of(Job, project_id), False),
        ("sweeps", _of(Sweep, project_id), False),
        ("batches", _of(Batch, project_id), False),
        ("evals", evals.select_from(Eval), False),
    ]


def _of(table: Any, project_id: str, size: Any = NO_BYTES) -> Select[int, Any]:
    return _count(size).select_from(table).where(table.project_id == project_id)


def _count(size: Any = NO_BYTES) -> Select[int, Any]:
    return select(func.count(), func.coalesce(func.sum(size), 0))
