"""Conversions by trainers: claim a queued export, keep its lease, and record how it ended."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select, true, update
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import (
    Checkpoint,
    ExportFormat,
    ExportState,
    File,
    FineTunedModel,
    Job,
    ModelExport,
)
from app.exports import archives, service

LEASE_SECONDS = 60
MAX_FAILURES = 3
CLAIM_LOCK = "model exports"
GIVEN_UP = (
    f"The conversion of this model ended unexpectedly {MAX_FAILURES} times. The service's operator "
    "finds the reason in the trainer's log; retry in a minute."
)
NO_DISK = (
    "The service's disk has no room for an archive of this model. Its operator must make room; "
    "retry later."
)
NO_MEMORY = (
    "The trainer has too little free memory to convert this model now. Retry later, when less is "
    "trained, or ask the service's operator."
)
# Failures of the service; all others are the model's.
SERVICE_FAILURES = frozenset({GIVEN_UP, NO_DISK, NO_MEMORY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A claimed export: what to convert, and what its model card says."""

    export_id: str
    attempt: int
    project_id: str
    model_name: str
    format: ExportFormat
    base_model: str
    storage_prefix: str
    facts: dict[str, Any]


def claim(session: Session) -> Conversion | None:
    """Claim the next export, or None. Projects take turns, the one served longest ago first.

    A project has one conversion at a time, on whichever trainer.
    """
    # Serialized, so that two trainers do not both find that a project has none.
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(CLAIM_LOCK, 0))))
    _fail_abandoned(session)
    while (row := _find_next(session)) is not None:
        model = session.get(FineTunedModel, row.model_name)
        if model is None or model.deleted_at is not None:
            service.delete(session, row)
            session.flush()
            continue
        _start(row)
        session.flush()
        return _describe(session, row, model)
    return None


def _find_next(session: Session) -> ModelExport | None:
    last = (
        select(ModelExport.project_id, func.max(ModelExport.started_at).label("last"))
        .group_by(ModelExport.project_id)
        .subquery()
    )
    busy = select(ModelExport.project_id).where(*_is_being_made())
    statement = (
        select(ModelExport)
        .join(last, last.c.project_id == ModelExport.project_id)
        .where(_is_claimable(), _is_wanted(), ModelExport.project_id.not_in(busy))
        .order_by(last.c.last.asc().nulls_first(), ModelExport.created_at)
        .limit(1)
        .with_for_update(of=ModelExport, skip_locked=True)
    )
    return session.scalars(statement).one_or_none()


def has_running(session: Session, project_id: str) -> bool:
    """Check whether an export of a project is being made."""
    running = select(ModelExport.id).where(ModelExport.project_id == project_id, *_is_being_made())
    return session.scalars(running.limit(1)).one_or_none() is not None


def _is_being_made() -> tuple[Any, ...]:
    return ModelExport.state == ExportState.RUNNING, ~_is_expired()


def _start(row: ModelExport) -> None:
    row.state = ExportState.RUNNING
    row.attempt += 1
    # Until it ends otherwise; so a trainer that is killed has failed too.
    row.failures += 1
    row.started_at = func.clock_timestamp()
    row.lease_until = clock.seconds_from_now(LEASE_SECONDS)


def renew(session: Session, export_id: str, attempt: int) -> bool:
    """Renew the lease. False if it is lost, or if nobody waits for the export any more."""
    renewed = session.scalars(
        update(ModelExport)
        .where(*_is_owned(export_id, attempt), _is_wanted(), _model_exists())
        .values(lease_until=clock.seconds_from_now(LEASE_SECONDS))
        .returning(ModelExport.id)
    )
    return renewed.one_or_none() is not None


def release(session: Session, export_id: str, attempt: int, *, has_failed: bool) -> None:
    """Give an unfinished export back, to be made again."""
    failures = ModelExport.failures if has_failed else ModelExport.failures - 1
    session.execute(
        update(ModelExport)
        .where(*_is_owned(export_id, attempt))
        .values(state=ExportState.QUEUED, lease_until=None, failures=failures)
    )


def finish(
    session: Session,
    export_id: str,
    attempt: int,
    *,
    key: str,
    size: int,
    sha256: str,
    max_project_bytes: int = 0,
) -> bool:
    """Record a stored archive. False if the lease is lost or the model deleted: it is unowned.

    `max_project_bytes` is for the archives of the project; 0 means no limit.
    """
    row = session.scalars(
        select(ModelExport)
        .where(*_is_owned(export_id, attempt), _model_exists())
        .with_for_update(of=ModelExport)
    ).one_or_none()
    if row is None:
        return False
    row.state, row.lease_until, row.failures = ExportState.READY, None, 0
    row.storage_key, row.bytes, row.sha256 = key, size, sha256
    session.flush()
    archives.delete_beyond_limits(session, row, max_project_bytes)
    return True


def fail(session: Session, export_id: str, attempt: int, error: str) -> None:
    """Record that the model has no such export, and why."""
    session.execute(
        update(ModelExport)
        .where(*_is_owned(export_id, attempt))
        .values(state=ExportState.FAILED, lease_until=None, error=error)
    )


def is_owner(session: Session, export_id: str, attempt: int) -> bool:
    owned = select(ModelExport.id).where(*_is_owned(export_id, attempt))
    return session.scalars(owned).one_or_none() is not None


def _fail_abandoned(session: Session) -> None:
    session.execute(
        update(ModelExport)
        .where(_is_claimable(), ModelExport.failures >= MAX_FAILURES)
        .values(state=ExportState.FAILED, lease_until=None, error=GIVEN_UP)
    )


def _is_owned(export_id: str, attempt: int) -> tuple[Any, ...]:
    return (
        ModelExport.id == export_id,
        ModelExport.attempt == attempt,
        ModelExport.state == ExportState.RUNNING,
    )


def _is_expired() -> Any:
    return (ModelExport.state == ExportState.RUNNING) & (
        ModelExport.lease_until < func.clock_timestamp()
    )


def _is_claimable() -> Any:
    return or_(ModelExport.state == ExportState.QUEUED, _is_expired())


def _is_wanted() -> Any:
    return ModelExport.wanted_at > clock.seconds_from_now(-service.UNWANTED_AFTER_SECONDS)


def _model_exists() -> Any:
    return (
        select(true())
        .where(FineTunedModel.name == ModelExport.model_name, FineTunedModel.deleted_at.is_(None))
        .correlate(ModelExport)
        .exists()
    )


def _describe(session: Session, row: ModelExport, model: FineTunedModel) -> Conversion:
    return Conversion(
        export_id=row.id,
        attempt=row.attempt,
        project_id=row.project_id,
        model_name=row.model_name,
        format=row.format,
        base_model=model.base_model,
        storage_prefix=model.storage_prefix,
        facts=_collect_facts(session, model),
    )


def _collect_facts(session: Session, model: FineTunedModel) -> dict[str, Any]:
    """Collect what the model card says about the training, as JSON values."""
    job = session.get_one(Job, model.job_id)
    training = session.get(File, job.training_file_id)
    validation = session.get(File, job.validation_file_id) if job.validation_file_id else None
    metrics = session.scalars(
        select(Checkpoint.metrics).where(
            Checkpoint.job_id == job.id, Checkpoint.storage_prefix == model.storage_prefix
        )
    ).first()
    return {
        "job_id": job.id,
        "created_at": model.created_at.isoformat(timespec="seconds"),
        "method": job.method,
        "seed": job.seed,
        "hyperparameters": job.resolved_hyperparameters or {},
        "trained_tokens": job.trained_tokens,
        "step": model.step or job.total_steps,
        "start_model": job.start_model,
        "training_file": _describe_file(training),
        "validation_file": _describe_file(validation),
        "metrics": metrics or {},
        # Measured on the final weights.
        "test_results": job.test_results if model.step is None else None,
        "evaluations": job.evaluations if model.step is None else None,
    }


def _describe_file(file: File | None) -> dict[str, Any] | None:
    if file is None:
        return None
    return {"sha256": file.sha256, "examples": file.examples, "format": file.format}
