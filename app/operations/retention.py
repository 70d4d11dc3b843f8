"""Retention: one sweep that erases and deletes what has outlived its use, batch by batch.

Each batch is a transaction of its own, so that the sweep holds no lock for long and goes on where
it was interrupted. What a file or model was called and contained goes as soon as it is deleted; its
row goes once nothing refers to it any more.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, delete, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from app import logs
from app.auth import audit_log, console_sessions
from app.batches.deletion import delete_batches
from app.conversations import deletion as conversations
from app.db import clock
from app.db.base import Base
from app.db.session import DatabaseUnavailable, SessionMaker, transaction
from app.db.tables import (
    TERMINAL_STATES,
    Checkpoint,
    CheckpointPermission,
    ExportState,
    File,
    FineTunedModel,
    Job,
    JobEvent,
    JobTestAnswer,
    ModelExport,
    ModelTrafficHour,
    Prediction,
    StoredCompletion,
    Upload,
    UploadPart,
)
from app.evals import deletion as evals
from app.exports import service as exports
from app.files import service
from app.files.uploads import TERMINAL_STATES as ENDED_UPLOADS
from app.jobs import deletion
from app.operations import archived_projects
from app.responses import deletion as responses
from app.sweeps.deletion import delete_sweeps
from app.usage import ledger

log = logs.get_logger(__name__)

BATCH_SIZE = 500
# The rows of a job are in many tables.
JOBS_BATCH_SIZE = 50
# Of each rule in one sweep; the next sweep continues.
MAX_BATCHES = 20
# By then, all API processes have written what they had counted of a deleted model.
TRAFFIC_GRACE_DAYS = 1 / 24


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Days to keep rows that have ended; 0 keeps them forever."""

    upload_days: float = 7
    job_event_days: float = 0
    job_days: float = 0
    deleted_row_days: float = 1
    archived_project_days: float = 0
    export_hours: float = 24
    stored_completion_days: float = 30
    conversation_days: float = 0
    audit_log_days: float = 365


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the sweep: `apply` handles one batch, and returns the number of its rows."""

    apply: Callable[[Session], int]
    batch_size: int = BATCH_SIZE


def sweep(sessions: SessionMaker, policy: RetentionPolicy) -> None:
    """Apply all rules. One that fails does not stop the others; its error is raised in the end."""
    failure: Exception | None = None
    for rule in _build_rules(policy):
        try:
            _apply(sessions, rule)
        except DatabaseUnavailable:
            raise
        except Exception as error:
            log.exception("retention.rule_failed", rule=str(rule.apply))
            failure = error
    if failure is not None:
        raise failure


def _build_rules(policy: RetentionPolicy) -> Iterator[Rule]:
    """Build the rules, each after those that release what it deletes."""
    if days := policy.archived_project_days:
        yield Rule(partial(archived_projects.delete_files, days=days, limit=BATCH_SIZE))
        yield Rule(partial(archived_projects.delete_models, days=days, limit=BATCH_SIZE))
        yield Rule(partial(archived_projects.delete_aliases, days=days, limit=BATCH_SIZE))
        completions = archived_projects.delete_stored_completions
        yield Rule(partial(completions, days=days, limit=BATCH_SIZE))
        of_archived_projects = responses.delete_of_archived
        yield Rule(partial(of_archived_projects, days=days, limit=BATCH_SIZE))
        of_archived = conversations.delete_of_archived
        yield Rule(partial(of_archived, days=days, limit=BATCH_SIZE))
        runs = archived_projects.delete_eval_runs
        yield Rule(partial(runs, days=days, limit=BATCH_SIZE))
    yield Rule(erase_deleted_files)
    if days := policy.stored_completion_days:
        yield Rule(partial(delete_stored_completions, days=days))
        yield Rule(partial(responses.delete_old, days=days, limit=BATCH_SIZE))
    if days := policy.conversation_days:
        yield Rule(partial(conversations.delete_unchanged, days=days, limit=BATCH_SIZE))
    if days := policy.audit_log_days:
        yield Rule(partial(audit_log.delete_old, days=days, limit=BATCH_SIZE))
    yield Rule(partial(console_sessions.delete_expired, limit=BATCH_SIZE))
    yield Rule(partial(delete_exports, hours=policy.export_hours))
    yield Rule(delete_test_answers)
    yield Rule(partial(evals.delete_items, limit=BATCH_SIZE))
    yield Rule(partial(ledger.fold_minutes, limit=BATCH_SIZE))
    traffic_days = min(policy.deleted_row_days or TRAFFIC_GRACE_DAYS, TRAFFIC_GRACE_DAYS)
    yield Rule(partial(delete_predictions_of_deleted_models, days=traffic_days))
    yield Rule(partial(delete_counts_of_deleted_models, days=traffic_days))
    if days := policy.upload_days:
        yield Rule(partial(delete_ended_uploads, days=days))
    if days := policy.job_event_days:
        yield Rule(partial(delete_job_events, days=days))
    if days := policy.job_days:
        yield Rule(partial(deletion.delete_metrics, days=days, limit=BATCH_SIZE))
        yield Rule(partial(deletion.delete_events, days=days, limit=BATCH_SIZE))
        jobs = partial(deletion.delete_jobs, days=days, limit=JOBS_BATCH_SIZE)
        yield Rule(jobs, JOBS_BATCH_SIZE)
        ended_sweeps = partial(delete_sweeps, days=days, limit=JOBS_BATCH_SIZE)
        yield Rule(ended_sweeps, JOBS_BATCH_SIZE)
        yield Rule(partial(delete_batches, days=days, limit=BATCH_SIZE))
        yield Rule(partial(evals.erase_old_runs, days=days, limit=BATCH_SIZE))
    if days := policy.deleted_row_days:
        yield Rule(partial(delete_rows_of_deleted_checkpoints, days=days))
        yield Rule(partial(delete_rows_of_deleted_models, days=days))
        yield Rule(partial(delete_rows_of_deleted_files, days=days))
        yield Rule(partial(evals.delete_run_rows, days=days, limit=BATCH_SIZE))
        yield Rule(partial(evals.delete_rows, days=days, limit=BATCH_SIZE))


def _apply(sessions: SessionMaker, rule: Rule) -> None:
    for _ in range(MAX_BATCHES):
        with transaction(sessions) as session:
            done = rule.apply(session)
        if done < rule.batch_size:
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
    # An upload ends within an hour.
    is_old = _is_older(Upload.created_at, days)
    old = select(Upload.id).where(Upload.state.in_(ENDED_UPLOADS), is_old, ~has_parts)
    return _delete(session, Upload, Upload.id, old)


def delete_job_events(session: Session, days: float) -> int:
    """Delete a batch of events of jobs that ended long ago."""
    old = select(JobEvent.id).join(Job, Job.id == JobEvent.job_id)
    return _delete(session, JobEvent, JobEvent.id, old.where(*deletion.has_ended_before(days)))


def delete_stored_completions(session: Session, *, days: float) -> int:
    """Delete a batch of chat completions that were stored long ago."""
    key = (StoredCompletion.project_id, StoredCompletion.id)
    old = select(*key).where(_is_older(StoredCompletion.created_at, days)).limit(BATCH_SIZE)
    statement = delete(StoredCompletion).where(tuple_(*key).in_(old))
    return len(session.execute(statement.returning(StoredCompletion.id)).all())


def delete_exports(session: Session, *, hours: float) -> int:
    """Delete a batch of exports that nobody has wanted for long, or whose model is deleted."""
    is_old = ModelExport.wanted_at < clock.subtract_from_now(timedelta(hours=hours))
    has_model = select(FineTunedModel.name).where(
        FineTunedModel.name == ModelExport.model_name, FineTunedModel.deleted_at.is_(None)
    )
    rows = session.scalars(
        select(ModelExport)
        .where((is_old & (ModelExport.state != ExportState.RUNNING)) | ~has_model.exists())
        .limit(BATCH_SIZE)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        exports.delete(session, row)
    return len(rows)


def delete_test_answers(session: Session) -> int:
    """Delete a batch of the answers to test files of jobs that have ended."""
    key = (JobTestAnswer.job_id, JobTestAnswer.model, JobTestAnswer.row)
    has_ended = Job.state.in_(TERMINAL_STATES)
    batch = select(*key).join(Job, Job.id == JobTestAnswer.job_id).where(has_ended)
    statement = delete(JobTestAnswer).where(tuple_(*key).in_(batch.limit(BATCH_SIZE)))
    return len(session.execute(statement.returning(JobTestAnswer.row)).all())


def delete_predictions_of_deleted_models(session: Session, *, days: float) -> int:
    """Delete a batch of recent predictions of models deleted more than `days` ago."""
    is_of_gone = Prediction.model.in_(_select_deleted_models(days))
    of_gone = select(Prediction.request_id).where(is_of_gone)
    return _delete(session, Prediction, Prediction.request_id, of_gone)


def delete_counts_of_deleted_models(session: Session, *, days: float) -> int:
    """Delete a batch of the hourly counts of deleted models, all of a model's at a time."""
    model = ModelTrafficHour.model
    of_gone = select(model).where(model.in_(_select_deleted_models(days)))
    return _delete(session, ModelTrafficHour, model, of_gone)


def delete_rows_of_deleted_checkpoints(session: Session, *, days: float) -> int:
    """Delete a batch of rows of checkpoints that were deleted long ago, of ended jobs."""
    gone = select(Checkpoint.id).join(Job, Job.id == Checkpoint.job_id)
    # A job that still trains may store the same step again.
    is_gone = (_is_older(Checkpoint.deleted_at, days), Job.state.in_(TERMINAL_STATES))
    return _delete(session, Checkpoint, Checkpoint.id, gone.where(*is_gone))


def delete_rows_of_deleted_models(session: Session, *, days: float) -> int:
    """Delete a batch of rows of models that were deleted long ago and have no traffic left."""
    has_counts = select(ModelTrafficHour.model).where(ModelTrafficHour.model == FineTunedModel.name)
    has_predictions = select(Prediction.model).where(Prediction.model == FineTunedModel.name)
    gone = (
        select(FineTunedModel.name)
        .join(Job, Job.id == FineTunedModel.job_id)
        .where(
            _is_older(FineTunedModel.deleted_at, days),
            Job.state.in_(TERMINAL_STATES),
            ~has_counts.exists(),
            ~has_predictions.exists(),
        )
        .limit(BATCH_SIZE)
    )
    names = session.scalars(gone).all()
    permissions = CheckpointPermission.model_name.in_(names)
    session.execute(delete(CheckpointPermission).where(permissions))
    session.execute(delete(FineTunedModel).where(FineTunedModel.name.in_(names)))
    return len(names)


def delete_rows_of_deleted_files(session: Session, *, days: float) -> int:
    """Delete a batch of rows of files that were deleted long ago, and no job or upload names."""
    # A condition for each column, since each has its own index.
    unused = [~select(column).where(column == File.id).exists() for column in _list_references()]
    gone = select(File.id).where(_is_older(File.deleted_at, days), *unused)
    return _delete(session, File, File.id, gone)


def _list_references() -> list[Column[Any]]:
    """List the columns of all tables that refer to files."""
    keys = (key for table in Base.metadata.sorted_tables for key in table.foreign_keys)
    return [key.parent for key in keys if key.column is File.__table__.c.id]


def _select_deleted_models(days: float) -> Select[str]:
    return select(FineTunedModel.name).where(_is_older(FineTunedModel.deleted_at, days))


def _is_older(column: InstrumentedAttribute[Any], days: float) -> ColumnElement[bool]:
    is_older: ColumnElement[bool] = column < clock.subtract_from_now(timedelta(days=days))
    return is_older


def _delete(
    session: Session, table: type[Base], key: InstrumentedAttribute[str], rows: Select[str]
) -> int:
    batch = rows.limit(BATCH_SIZE)
    return len(session.scalars(delete(table).where(key.in_(batch)).returning(key)).all())
