"""Requests for exports: find the model's archive, or have it made while somebody waits for it."""

import hashlib
import json
from typing import ClassVar

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import ids
from app.catalog import Catalog, CatalogModel
from app.db import clock, outbox
from app.db.tables import ExportFormat, ExportState, FineTunedModel, Job, ModelExport
from app.errors import InvalidRequest, ModelNotFound, RateLimited, ServiceUnavailable
from app.exports.formats import list_formats
from app.models import registry

# `wanted_at` is not written more often than this by those who wait.
WANTED_PRECISION_SECONDS = 10
# After this, a request for an export that failed has it made again.
RETRY_FAILED_SECONDS = 60


# Exports of one project that wait or are being made.
MAX_QUEUED_PER_PROJECT = 16
# One that nobody has asked for in this time is not made, or its conversion is stopped. Longer than
# a client waits before it repeats a request that its proxy cut off.
UNWANTED_AFTER_SECONDS = 120


class TooManyExports(RateLimited):
    """This project already waits for several exports. Retry when one of them is made."""

    # A conversion takes minutes; the official SDKs retry for seconds only.
    headers: ClassVar[dict[str, str]] = {"Retry-After": "30", "x-should-retry": "false"}


class ExportInProgress(ServiceUnavailable):
    """The export is still being made. Retry, and the request waits for it again."""

    code = "export_in_progress"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


def request(
    session: Session, catalog: Catalog, project_id: str, name: str, format_: str
) -> ModelExport:
    """Find or queue the export of a model that the project owns.

    An archive of other weights is deleted and made again: a job that began again has stored them
    under the name of a checkpoint that it had before. Raises ModelNotFound, Forbidden for another
    project's model, and InvalidRequest for a format that the model does not have.
    """
    model = registry.get_exportable(session, catalog, project_id, name)
    base = catalog.get(model.base_model)
    export_format = _check_format(session, base, model, format_)
    assert base is not None
    fingerprint = compute_fingerprint(model, base)
    found = _find(session, model.name, export_format)
    if found is None or found.fingerprint != fingerprint or _is_due_again(session, found):
        found = _queue(session, model, export_format, fingerprint)
    _want(session, found)
    return found


def compute_fingerprint(model: FineTunedModel, base: CatalogModel) -> str:
    """Compute a digest of what an archive is made of: the weights, and what it says of the base.

    Each attempt at a job stores its checkpoints under prefixes of its own, which are not written
    twice.
    """
    parts = [model.storage_prefix, base.id, base.source, base.hub, base.license]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


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
    session: Session, base: CatalogModel | None, model: FineTunedModel, format_: str
) -> ExportFormat:
    job = session.get(Job, model.job_id)
    if base is None or job is None:
        raise ModelNotFound(model.name)
    is_full = (job.resolved_hyperparameters or {}).get("tuning") == "full"
    formats = list_formats(base.kind, job.method, is_full=is_full)
    if format_ not in formats:
        raise InvalidRequest(
            f"This model cannot be exported as '{format_}'. Its formats are {', '.join(formats)}.",
            param="format",
        )
    return ExportFormat(format_)


def _find(
    session: Session, name: str, format_: ExportFormat, *, lock: bool = False
) -> ModelExport | None:
    statement = select(ModelExport).where(
        ModelExport.model_name == name, ModelExport.format == format_
    )
    if lock:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    return session.scalars(statement).one_or_none()


def _queue(
    session: Session, model: FineTunedModel, format_: ExportFormat, fingerprint: str
) -> ModelExport:
    """Queue an export that does not exist, is of other weights, or failed a while ago.

    Raises TooManyExports.
    """
    _check_queue(session, model.project_id)
    session.execute(
        insert(ModelExport)
        .values(
            id=ids.export_id(),
            project_id=model.project_id,
            model_name=model.name,
            format=format_,
            fingerprint=fingerprint,
            state=ExportState.QUEUED,
        )
        .on_conflict_do_nothing(index_elements=["model_name", "format"])
    )
    # Locked: a trainer may record its archive, or another request queue it, at the same time.
    row = _find(session, model.name, format_, lock=True)
    if row is None:
        # Its deletion was committed between the two statements; the client's retry inserts it.
        raise ExportInProgress
    if row.fingerprint != fingerprint or _is_due_again(session, row):
        if row.storage_key is not None:
            outbox.enqueue_blob_deletion(session, row.storage_key)
        # A conversion that runs meanwhile is of the old weights, and loses its lease by this.
        row.state, row.failures, row.error = ExportState.QUEUED, 0, None
        row.storage_key, row.bytes, row.sha256 = None, None, None
        row.fingerprint, row.lease_until = fingerprint, None
        session.flush()
    return row


def _check_queue(session: Session, project_id: str) -> None:
    """Raise TooManyExports if the project waits for as many as it may."""
    waiting = select(ModelExport.id).where(
        ModelExport.project_id == project_id,
        ModelExport.state.in_((ExportState.QUEUED, ExportState.RUNNING)),
        ModelExport.wanted_at > clock.seconds_from_now(-UNWANTED_AFTER_SECONDS),
    )
    if len(session.scalars(waiting.limit(MAX_QUEUED_PER_PROJECT)).all()) >= MAX_QUEUED_PER_PROJECT:
        raise TooManyExports(
            f"This project already waits for {MAX_QUEUED_PER_PROJECT} exports. Wait until one of "
            "them is made; those that nobody waits for end in two minutes."
        )


def _is_due_again(session: Session, row: ModelExport) -> bool:
    return row.state == ExportState.FAILED and _get_age(session, row) >= RETRY_FAILED_SECONDS


def _want(session: Session, row: ModelExport) -> None:
    """Note that somebody asks for an export. One that failed is forgotten after a while."""
    if row.state == ExportState.FAILED or _get_age(session, row) < WANTED_PRECISION_SECONDS:
        return
    wanted = update(ModelExport).where(ModelExport.id == row.id)
    session.execute(
        wanted.values(wanted_at=func.clock_timestamp()),
        execution_options={"synchronize_session": False},
    )


def _get_age(session: Session, row: ModelExport) -> float:
    """Seconds since somebody last asked for it."""
    return (clock.now(session) - row.wanted_at).total_seconds()
