"""Deletion of jobs that ended long ago and whose models are deleted, or that made none.

A job's events and metrics go first, in batches, since there may be very many. With the job's row go
its attempts, checkpoints, result files, and the rows of its deleted models. The tokens it trained
remain counted for accounting, per project, base model and month.
"""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, Date, Select, cast, delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db import clock, outbox
from app.db.tables import (
    TERMINAL_STATES,
    Checkpoint,
    CheckpointPermission,
    File,
    FineTunedModel,
    Job,
    JobAttempt,
    JobEvent,
    JobLease,
    JobMetadata,
    JobMetric,
    JobTestAnswer,
    ModelTrafficHour,
    MonthlyTrainingUsage,
    Prediction,
    TrainingUsage,
)
from app.files import service as files

PARTS = (JobAttempt, JobLease, JobMetadata, JobTestAnswer, Checkpoint, FineTunedModel)


def has_ended_before(days: float) -> tuple[ColumnElement[bool], ...]:
    """Build the conditions of a job that ended more than `days` ago."""
    is_old = Job.finished_at < clock.subtract_from_now(timedelta(days=days))
    return Job.state.in_(TERMINAL_STATES), is_old


def delete_metrics(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of the metrics of jobs that are to be deleted; return their number."""
    key = (JobMetric.job_id, JobMetric.step)
    batch = select(*key).join(Job, Job.id == JobMetric.job_id).where(*_is_expired(days))
    statement = delete(JobMetric).where(tuple_(*key).in_(batch.limit(limit)))
    return len(session.execute(statement.returning(JobMetric.step)).all())


def delete_events(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of the events of jobs that are to be deleted; return their number."""
    batch = select(JobEvent.id).join(Job, Job.id == JobEvent.job_id).where(*_is_expired(days))
    statement = delete(JobEvent).where(JobEvent.id.in_(batch.limit(limit)))
    return len(session.scalars(statement.returning(JobEvent.id)).all())


def delete_jobs(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of jobs that have no events and metrics left; return their number."""
    has_event = select(JobEvent.id).where(JobEvent.job_id == Job.id).exists()
    has_metric = select(JobMetric.step).where(JobMetric.job_id == Job.id).exists()
    is_bare = (~has_event, ~has_metric)
    expired = select(Job).where(*_is_expired(days), *is_bare)
    statement = expired.order_by(Job.finished_at).limit(limit)
    jobs = session.scalars(statement.with_for_update(skip_locked=True)).all()
    job_ids = [job.id for job in jobs]
    _delete_stored_objects(session, jobs)
    _fold_usage(session, job_ids)
    _delete_use_of_models(session, job_ids)
    for part in PARTS:
        session.execute(delete(part).where(part.job_id.in_(job_ids)))
    session.execute(delete(Job).where(Job.id.in_(job_ids)))
    return len(jobs)


def _is_expired(days: float) -> tuple[ColumnElement[bool], ...]:
    model = select(FineTunedModel.name).where(
        FineTunedModel.job_id == Job.id, FineTunedModel.deleted_at.is_(None)
    )
    return *has_ended_before(days), ~model.exists()


def _delete_stored_objects(session: Session, jobs: Sequence[Job]) -> None:
    checkpoints = select(Checkpoint.storage_prefix).where(
        Checkpoint.job_id.in_([job.id for job in jobs]), Checkpoint.deleted_at.is_(None)
    )
    for prefix in session.scalars(checkpoints):
        outbox.enqueue_prefix_deletion(session, prefix)
    results = [
        file_id
        for job in jobs
        for file_id in (job.result_file_id, job.evaluation_file_id)
        if file_id is not None
    ]
    # Waits for an owner who is deleting one.
    is_stored = (File.id.in_(results), File.deleted_at.is_(None))
    for file in session.scalars(select(File).where(*is_stored).order_by(File.id).with_for_update()):
        files.erase(session, file)


def _fold_usage(session: Session, job_ids: Sequence[str]) -> None:
    """Add the jobs' usage to their months, and delete it."""
    month = cast(
        func.date_trunc("month", func.timezone("UTC", TrainingUsage.created_at)), Date
    ).label("month")
    columns = (TrainingUsage.project_id, TrainingUsage.base_model, month)
    sums = (
        select(*columns, func.count(), func.sum(TrainingUsage.trained_tokens))
        .where(TrainingUsage.job_id.in_(job_ids))
        .group_by(*columns)
        # A fixed order, so that two processes that add to the same rows cannot deadlock.
        .order_by(*columns)
    )
    names = ["project_id", "base_model", "month", "jobs", "trained_tokens"]
    added = insert(MonthlyTrainingUsage).from_select(names, sums)
    totals = {
        "jobs": MonthlyTrainingUsage.jobs + added.excluded.jobs,
        "trained_tokens": MonthlyTrainingUsage.trained_tokens + added.excluded.trained_tokens,
    }
    session.execute(added.on_conflict_do_update(index_elements=names[:3], set_=totals))
    session.execute(delete(TrainingUsage).where(TrainingUsage.job_id.in_(job_ids)))


def _delete_use_of_models(session: Session, job_ids: Sequence[str]) -> None:
    """Delete the permissions and the traffic of the jobs' models."""
    names: Select[str] = select(FineTunedModel.name).where(FineTunedModel.job_id.in_(job_ids))
    for column in (CheckpointPermission.model_name, ModelTrafficHour.model, Prediction.model):
        session.execute(delete(column.class_).where(column.in_(names)))
