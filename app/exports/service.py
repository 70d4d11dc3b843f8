"""Requests for exports: find the model's archive, or have it made while somebody waits for it."""

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import ids
from app.catalog import Catalog
from app.db import clock, outbox
from app.db.tables import ExportFormat, ExportState, FineTunedModel, Job, ModelExport
from app.errors import InvalidRequest, ModelNotFound
from app.exports.formats import list_formats
from app.models import registry

# `wanted_at` is not written more often than this by those who wait.
WANTED_PRECISION_SECONDS = 10
# After this, a request for an export that failed has it made again.
RETRY_FAILED_SECONDS = 60


def request(
    session: Session, catalog: Catalog, project_id: str, name: str, format_: str
) -> ModelExport:
    """Find or queue the export of a model that the project owns.

    Raises ModelNotFound, Forbidden for another project's model, and InvalidRequest for a format
    that the model does not have.
    """
    model = registry.get_exportable(session, catalog, project_id, name)
    export_format = _check_format(session, catalog, model, format_)
    found = _find(session, name, export_format)
    if found is None:
        session.execute(
            insert(ModelExport)
            .values(
                id=ids.export_id(),
                project_id=project_id,
                model_name=name,
                format=export_format,
                state=ExportState.QUEUED,
            )
            .on_conflict_do_nothing(index_elements=["model_name", "format"])
        )
        found = _find(session, name, export_format)
    assert found is not None
    _want(session, found)
    return found


def make_again(session: Session, export_id: str) -> None:
    """Queue an export whose archive is gone from storage, as after a restored backup."""
    session.execute(
        update(ModelExport)
        .where(ModelExport.id == export_id, ModelExport.state == ExportState.READY)
        .values(state=ExportState.QUEUED, storage_key=None, bytes=None, sha256=None)
    )


def delete(session: Session, row: ModelExport) -> None:
    if row.storage_key is not None:
        outbox.enqueue_blob_deletion(session, row.storage_key)
    session.delete(row)


def _check_format(
    session: Session, catalog: Catalog, model: FineTunedModel, format_: str
) -> ExportFormat:
    base, job = catalog.get(model.base_model), session.get(Job, model.job_id)
    if base is None or job is None:
        raise ModelNotFound(model.name)
    is_full = (job.resolved_hyperparameters or {}).get("tuning") == "full"
    formats = list_formats(base.kind, job.method, is_full=is_full)
    if format_ not in formats:
        raise InvalidRequest(
            f"This model cannot be exported as {format_!r}. Its formats are {', '.join(formats)}.",
            param="format",
        )
    return ExportFormat(format_)


def _find(session: Session, name: str, format_: ExportFormat) -> ModelExport | None:
    return session.scalars(
        select(ModelExport).where(ModelExport.model_name == name, ModelExport.format == format_)
    ).one_or_none()


def _want(session: Session, row: ModelExport) -> None:
    """Note that somebody asks for an export, and have one that failed a while ago made again."""
    age = (clock.now(session) - row.wanted_at).total_seconds()
    if row.state == ExportState.FAILED:
        if age < RETRY_FAILED_SECONDS:
            return
        row.state, row.failures, row.error = ExportState.QUEUED, 0, None
    if age >= WANTED_PRECISION_SECONDS:
        row.wanted_at = func.clock_timestamp()
    session.flush()
