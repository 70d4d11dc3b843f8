"""Retention: one sweep that erases and deletes what has outlived its use, batch by batch.

Each batch is a transaction of its own, so that the sweep holds no lock for long and goes on where
it was interrupted. What a file or model was called and contained goes with it: rows that must stay,
because jobs and usage refer to them, are emptied.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, Select, delete, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db import clock
from app.db.base import Base
from app.db.session import SessionMaker, transaction
from app.db.tables import (
    TERMINAL_STATES,
    File,
    FineTunedModel,
    Job,
    JobEvent,
    ModelTrafficHour,
    Prediction,
    Upload,
    UploadPart,
)
from app.files import service
from app.files.uploads import TERMINAL_STATES as ENDED_UPLOADS

BATCH_SIZE = 500
# Of each rule in one sweep; the next sweep continues.
MAX_BATCHES = 20
# By then, all API processes have written what they had counted of a deleted model.
TRAFFIC_GRACE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Days to keep rows that have ended; 0 keeps them forever."""

    upload_days: float = 7
    job_event_days: float = 0


def sweep(sessions: SessionMaker, policy: RetentionPolicy) -> None:
    """Apply all rules."""
    rules: list[Callable[[Session], int]] = [
        erase_deleted_files,
        delete_predictions_of_deleted_models,
        delete_counts_of_deleted_models,
    ]
    if policy.upload_days:
        rules.append(lambda session: delete_ended_uploads(session, policy.upload_days))
    if policy.job_event_days:
        rules.append(lambda session: delete_job_events(session, policy.job_event_days))
    for rule in rules:
        _apply(sessions, rule)


def _apply(sessions: SessionMaker, rule: Callable[[Session], int]) -> None:
    for _ in range(MAX_BATCHES):
        with transaction(sessions) as session:
            done = rule(session)
        if done < BATCH_SIZE:
            return


def erase_deleted_files(session: Session) -> int:
    """Erase a batch of rows of files that a previous version has deleted; return their number."""
    files = session.scalars(
        select(File)
        .where(File.deleted_at.is_not(None), File.filename != service.ERASED_FILENAME)
        .limit(BATCH_SIZE)
        .with_for_update(skip_locked=True)
    ).all()
    for file in files:
        service.erase_description(session, file)
    return len(files)


def delete_ended_uploads(session: Session, days: float) -> int:
    """Delete a batch of uploads that ended long ago and have no parts left."""
    has_parts = select(UploadPart.id).where(UploadPart.upload_id == Upload.id).exists()
    is_old = Upload.expires_at < clock.subtract_from_now(timedelta(days=days))
    old = select(Upload.id).where(Upload.state.in_(ENDED_UPLOADS), is_old, ~has_parts)
    return _delete(session, Upload, Upload.id, old)


def delete_job_events(session: Session, days: float) -> int:
    """Delete a batch of events of jobs that ended long ago."""
    old = select(JobEvent.id).join(Job, Job.id == JobEvent.job_id)
    return _delete(session, JobEvent, JobEvent.id, old.where(*_ended_before(days)))


def delete_predictions_of_deleted_models(session: Session) -> int:
    """Delete a batch of recent predictions of deleted models."""
    of_gone = select(Prediction.request_id).where(Prediction.model.in_(_select_deleted_models()))
    return _delete(session, Prediction, Prediction.request_id, of_gone)


def delete_counts_of_deleted_models(session: Session) -> int:
    """Delete a batch of the hourly counts of deleted models, all of a model's at a time."""
    model = ModelTrafficHour.model
    of_gone = select(model).where(model.in_(_select_deleted_models()))
    return _delete(session, ModelTrafficHour, model, of_gone)


def _select_deleted_models() -> Select[str]:
    is_gone = FineTunedModel.deleted_at < clock.subtract_from_now(TRAFFIC_GRACE)
    return select(FineTunedModel.name).where(is_gone)


def _ended_before(days: float) -> tuple[ColumnElement[bool], ...]:
    is_old = Job.finished_at < clock.subtract_from_now(timedelta(days=days))
    return Job.state.in_(TERMINAL_STATES), is_old


def _delete(
    session: Session, table: type[Base], key: InstrumentedAttribute[str], rows: Select[str]
) -> int:
    batch = rows.limit(BATCH_SIZE)
    return len(session.scalars(delete(table).where(key.in_(batch)).returning(key)).all())
