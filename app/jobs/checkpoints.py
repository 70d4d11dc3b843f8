"""Checkpoints of jobs: record, promote to models, apply retention, delete.

A checkpoint taken at the end of an epoch (kind `user`) is servable as a fine-tuned model at once.
The one of the last step is recorded as `resume`: it becomes the job's model when the job succeeds,
under a name without a step.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app import ids
from app.catalog import FineTunedModelName
from app.db import outbox
from app.db.tables import Checkpoint, CheckpointKind, FineTunedModel, Job, Organization, Project
from app.jobs import events, states
from app.jobs.events import NewEvent
from app.models import aliases

# The last three epochs, as OpenAI keeps them, and those with an alias.
MAX_SERVABLE_CHECKPOINTS = 3
# The newest one, and the one before it in case the newest is damaged.
MAX_RESUME_CHECKPOINTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCheckpoint:
    """A checkpoint whose files are all in the store, under `prefix`."""

    step: int
    servable: bool
    prefix: str
    manifest_sha256: str
    bytes: int
    metrics: Mapping[str, float]


def record(session: Session, job_id: str, attempt: int, stored: StoredCheckpoint) -> None:
    """Record a stored checkpoint and apply retention. Raises LeaseLost.

    A step stored by an earlier attempt keeps its model name and gets the new files. If that model
    was deleted since, the new files are only for resuming.
    """
    job = states.lock_for_attempt(session, job_id, attempt)
    servable = (
        stored.servable
        and stored.step != job.total_steps
        and not _has_deleted_model(session, job, stored.step)
    )
    row = _upsert_row(
        session, job, stored, kind=CheckpointKind.USER if servable else CheckpointKind.RESUME
    )
    if servable:
        row.model_name = row.model_name or generate_model_name(session, job, step=stored.step)
        _publish(session, job, row.model_name, step=stored.step, prefix=stored.prefix)
        events.append(session, job, [_build_created_event(row.step, row.model_name)])
    # A new checkpoint is progress: earlier crashes no longer count.
    job.no_progress_attempts = 0
    session.flush()
    _apply_retention(session, job_id)


def _has_deleted_model(session: Session, job: Job, step: int) -> bool:
    """True if the step had a model that was deleted, by its owner or by retention."""
    deleted = select(Checkpoint.id).where(
        Checkpoint.job_id == job.id,
        Checkpoint.step == step,
        Checkpoint.model_name.is_not(None),
        Checkpoint.deleted_at.is_not(None),
    )
    return session.scalars(deleted.limit(1)).first() is not None


def list_resumable(session: Session, job_id: str) -> list[Checkpoint]:
    """List the checkpoints that a job can resume from, newest first."""
    statement = (
        select(Checkpoint)
        .where(Checkpoint.job_id == job_id, Checkpoint.deleted_at.is_(None))
        # An attempt that began again stores lower steps than the one before it.
        .order_by(Checkpoint.attempt.desc(), Checkpoint.step.desc())
        .limit(MAX_RESUME_CHECKPOINTS)
    )
    return list(session.scalars(statement))


def promote(session: Session, job: Job) -> str | None:
    """Promote the checkpoint of the last step to the job's model.

    Returns the model's name, or None if that checkpoint does not exist.
    """
    row = session.scalars(
        select(Checkpoint)
        .where(
            Checkpoint.job_id == job.id,
            Checkpoint.step == job.total_steps,
            Checkpoint.deleted_at.is_(None),
        )
        .order_by(Checkpoint.kind.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    before = row.model_name
    _delete_row_of_deleted_model(session, row)
    row.kind, row.model_name = CheckpointKind.USER, generate_model_name(session, job)
    if before is not None:
        # Training ended early: when recorded, this step was not known to be the last.
        _unpublish(session, before)
        aliases.repoint_all(session, before, row.model_name)
    _publish(session, job, row.model_name, step=None, prefix=row.storage_prefix)
    session.flush()
    _apply_retention(session, job.id)
    delete_resume_checkpoints(session, job.id)
    return row.model_name


def publish_latest(session: Session, job: Job) -> Checkpoint | None:
    """Make the newest checkpoint servable, wherever in an epoch it was taken; None without one."""
    newest = list_resumable(session, job.id)[:1]
    for row in newest:
        if row.model_name is None:
            _delete_row_of_deleted_model(session, row)
            row.kind = CheckpointKind.USER
            row.model_name = generate_model_name(session, job, step=row.step)
            _publish(session, job, row.model_name, step=row.step, prefix=row.storage_prefix)
            events.append(session, job, [_build_created_event(row.step, row.model_name)])
            session.flush()
            _apply_retention(session, job.id)
    return newest[0] if newest else None


def _delete_row_of_deleted_model(session: Session, row: Checkpoint) -> None:
    # A step has one row per kind; the `user` row may belong to a model that its owner deleted.
    session.execute(
        delete(Checkpoint).where(
            Checkpoint.job_id == row.job_id,
            Checkpoint.step == row.step,
            Checkpoint.deleted_at.is_not(None),
        )
    )


def delete_resume_checkpoints(session: Session, job_id: str) -> None:
    """Delete the checkpoints that are only for resuming training."""
    rows = select(Checkpoint).where(
        Checkpoint.job_id == job_id,
        Checkpoint.kind == CheckpointKind.RESUME,
        Checkpoint.deleted_at.is_(None),
    )
    _soft_delete(session, session.scalars(rows))


def delete_after(session: Session, job_id: str, step: int) -> int:
    """Delete the checkpoints after `step`, and their models; return the newest step that is left.

    Without any left, the step is 0. When a later attempt stores such a step again, its model gets a
    name of its own.
    """
    rows = session.scalars(
        select(Checkpoint)
        .where(Checkpoint.job_id == job_id, Checkpoint.deleted_at.is_(None))
        .order_by(Checkpoint.step)
    ).all()
    later = [row for row in rows if row.step > step]
    _soft_delete(session, later)
    for row in later:
        row.model_name = None
    return max((row.step for row in rows if row.step <= step), default=0)


def generate_model_name(session: Session, job: Job, *, step: int | None = None) -> str:
    """Generate a name for a job's model, or for its checkpoint at `step`."""
    slug = session.scalars(
        select(Organization.slug).join(Project).where(Project.id == job.project_id)
    ).one()
    return str(FineTunedModelName(job.base_model, slug, job.suffix or "", ids.model_tag(), step))


def _upsert_row(
    session: Session, job: Job, stored: StoredCheckpoint, *, kind: CheckpointKind
) -> Checkpoint:
    row = session.scalars(
        select(Checkpoint).where(
            Checkpoint.job_id == job.id, Checkpoint.step == stored.step, Checkpoint.kind == kind
        )
    ).one_or_none()
    if row is None:
        row = Checkpoint(id=ids.checkpoint_id(), job_id=job.id, step=stored.step, kind=kind)
        session.add(row)
    elif row.storage_prefix != stored.prefix:
        outbox.enqueue_prefix_deletion(session, row.storage_prefix)
    row.attempt = job.attempt
    row.storage_prefix = stored.prefix
    row.manifest_sha256 = stored.manifest_sha256
    row.bytes = stored.bytes
    row.metrics = {"step": stored.step, **drop_nonfinite(stored.metrics)}
    row.deleted_at = None
    return row


def drop_nonfinite(values: Mapping[str, float]) -> dict[str, float]:
    """Drop NaN and infinities, which JSON cannot represent and Postgres rejects."""
    return {key: value for key, value in values.items() if math.isfinite(value)}


def _build_created_event(step: int, model_name: str) -> NewEvent:
    message = f"Checkpoint created at step {step} with Snapshot ID: {model_name}"
    return NewEvent(f"checkpoint:{step}", message)


def _publish(session: Session, job: Job, model_name: str, *, step: int | None, prefix: str) -> None:
    session.merge(
        FineTunedModel(
            name=model_name,
            project_id=job.project_id,
            job_id=job.id,
            base_model=job.base_model,
            step=step,
            storage_prefix=prefix,
            deleted_at=None,
        )
    )


def _apply_retention(session: Session, job_id: str) -> None:
    rows = list(
        session.scalars(
            select(Checkpoint)
            .where(Checkpoint.job_id == job_id, Checkpoint.deleted_at.is_(None))
            .order_by(Checkpoint.attempt.desc(), Checkpoint.step.desc())
        )
    )
    servable = [row for row in rows if row.kind == CheckpointKind.USER]
    spare = [row for row in rows[MAX_RESUME_CHECKPOINTS:] if row.kind == CheckpointKind.RESUME]
    older = servable[MAX_SERVABLE_CHECKPOINTS:]
    names = [row.model_name for row in older if row.model_name is not None]
    aliased = aliases.lock_aliased_models(session, names)
    _soft_delete(session, [*(row for row in older if row.model_name not in aliased), *spare])


def _soft_delete(session: Session, rows: Iterable[Checkpoint]) -> None:
    for row in rows:
        row.deleted_at = func.clock_timestamp()
        outbox.enqueue_prefix_deletion(session, row.storage_prefix)
        if row.model_name is not None:
            _unpublish(session, row.model_name)


def _unpublish(session: Session, model_name: str) -> None:
    session.execute(
        update(FineTunedModel)
        .where(FineTunedModel.name == model_name)
        .values(deleted_at=func.clock_timestamp())
    )
