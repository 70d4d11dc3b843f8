"""Jobs as their owner handles them: created, listed, looked at. Their life is in `lifecycle`."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, select, text, true
from sqlalchemy.orm import Session, aliased

from app import ids
from app.auth import projects
from app.catalog import BaseModel, Catalog
from app.db import pagination
from app.db.pagination import Page
from app.db.tables import WITHOUT_METADATA, Checkpoint, File, Job, JobEvent, JobMetadata
from app.errors import InvalidRequest, NotFound
from app.files import intake
from app.files import service as files
from app.jobs import lifecycle, option_checks, quotas
from app.jobs.schemas import CreateJob
from app.models import registry

# A pair that so many jobs have is walked like any other that is as common.
COMMON = 1000
# Made once, as in `keys`: clients poll their jobs.
ONE = select(Job).where(Job.id == bindparam("job_id"), Job.project_id == bindparam("project_id"))


def create(
    session: Session,
    catalog: Catalog,
    project_id: str,
    asked: CreateJob,
    *,
    max_queued: int = 0,
    wandb: bool = False,
) -> Job:
    """A new job, on its way to be validated.

    `max_queued` is for projects without a limit of their own; 0 is no limit. `wandb` is whether
    Weights & Biases can be reached with a key of the operator's. Raises Forbidden, TooManyJobs, and
    InvalidRequest with the parameter at fault.
    """
    # Before anything else: a job that is made while its project ends would go on unseen. And with
    # the lock on the queue first, this, a resumption and an archiving could wait in a circle.
    projects.require_open(session, project_id)
    quotas.require_room(session, project_id, default=max_queued)
    base, start_model = _start(session, catalog, project_id, asked.model)
    option_checks.require_usable(session, base, start_model, asked)
    if asked.integrations and not wandb:
        raise _no_wandb_key()
    training = _usable_file(session, project_id, asked.training_file, "training_file")
    held_out = _held_out(session, project_id, asked)
    job = Job(
        id=ids.job_id(),
        project_id=project_id,
        state="validating_files",
        base_model=base.id,
        start_model=start_model,
        training_file_id=training.id,
        validation_file_id=None if held_out is None else held_out.id,
        method=asked.method_type,
        hyperparameters=asked.chosen(),
        seed=ids.seed() if asked.seed is None else asked.seed,
        suffix=asked.suffix,
        integrations=[integration.model_dump() for integration in asked.integrations or ()],
    )
    # Not set to None: that would store JSON's null, which is not SQL's.
    if asked.metadata is not None:
        job.user_metadata = asked.metadata
    session.add(job)
    lifecycle.created(session, job, unused=asked.unknown())
    return job


def retrieve(session: Session, project_id: str, job_id: str) -> Job:
    """A project's job. Raises NotFound for another project's too."""
    job = session.scalars(ONE, {"job_id": job_id, "project_id": project_id}).one_or_none()
    if job is None:
        raise lifecycle.not_found(job_id)
    return job


def list_(
    session: Session,
    project_id: str,
    *,
    metadata: Mapping[str, str] | None,
    after: str | None,
    limit: int,
) -> Page[Job]:
    """A page of a project's jobs, newest first.

    `metadata` keeps the jobs that have all its pairs; None, those that have no metadata.
    """
    mine = select(Job).where(Job.project_id == project_id)
    if metadata:
        found, place = _having(session, project_id, metadata)
        return pagination.by_age(session, found, named=mine, after=after, limit=limit, place=place)
    found = mine if metadata is not None else mine.where(text(WITHOUT_METADATA))
    return pagination.by_age(session, found, named=mine, after=after, limit=limit)


def _having(
    session: Session, project_id: str, metadata: Mapping[str, str]
) -> tuple[Select[Job], tuple[Any, Any]]:
    """A project's jobs that have all these pairs, and the columns of their order.

    Walks the index of the rarest pair and looks the others up, so that a page ends after so many
    jobs. The planner, left alone, would sort all jobs of a pair that many have: it takes the
    conditions of a join for independent, and so its result for small.
    """
    rarest, *others = sorted(
        metadata.items(), key=lambda pair: _how_common(session, project_id, pair, len(metadata))
    )
    row = aliased(JobMetadata)
    found = select(Job).join(row, row.job_id == Job.id).where(_is(row, project_id, rarest))
    for pair in others:
        other = aliased(JobMetadata)
        of_the_same = and_(other.created_at == row.created_at, other.job_id == row.job_id)
        # The limit keeps the planner from making a join of it.
        has = select(other.job_id).where(_is(other, project_id, pair), of_the_same).limit(1)
        found = found.join(has.lateral(), true())
    return found, (row.created_at, row.job_id)


def _how_common(session: Session, project_id: str, pair: tuple[str, str], pairs: int) -> int:
    """How many jobs have a pair, if that matters, counted as far as it does."""
    if pairs == 1:
        return 0
    some = select(JobMetadata.job_id).where(_is(JobMetadata, project_id, pair)).limit(COMMON)
    return session.scalars(select(func.count()).select_from(some.subquery())).one()


def _is(row: type[JobMetadata], project_id: str, pair: tuple[str, str]) -> ColumnElement[bool]:
    key, value = pair
    return and_(row.project_id == project_id, row.key == key, row.value == value)


def events(
    session: Session, project_id: str, job_id: str, *, after: str | None, limit: int
) -> Page[JobEvent]:
    """A page of a job's events, newest first. Raises NotFound."""
    retrieve(session, project_id, job_id)
    statement = select(JobEvent).where(JobEvent.job_id == job_id)
    if after is not None:
        named = select(JobEvent).where(JobEvent.id == after, JobEvent.job_id == job_id)
        last = pagination.start(session, named)
        if last is None:
            return pagination.NOTHING
        statement = statement.where(JobEvent.seq < last.seq)
    return pagination.fetch(session, statement.order_by(JobEvent.seq.desc()), limit=limit)


def checkpoints(
    session: Session, project_id: str, job_id: str, *, after: str | None, limit: int
) -> Page[Checkpoint]:
    """A page of the checkpoints that can be used as models, newest first. Raises NotFound."""
    retrieve(session, project_id, job_id)
    servable = select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.kind == "user")
    statement = servable.where(Checkpoint.deleted_at.is_(None))
    if after is not None:
        last = pagination.start(session, servable.where(Checkpoint.id == after))
        if last is None:
            return pagination.NOTHING
        statement = statement.where(Checkpoint.step < last.step)
    return pagination.fetch(session, statement.order_by(Checkpoint.step.desc()), limit=limit)


def _start(
    session: Session, catalog: Catalog, project_id: str, name: str
) -> tuple[BaseModel, str | None]:
    try:
        # Kept, or it could be deleted before the job is there to keep it.
        found = registry.resolve(session, catalog, project_id, name, keep=True)
    except NotFound as error:
        raise _not_available(name, "or does not exist") from error
    if not found.base.methods:
        raise _not_available(name, f"since no method for {found.base.kind} models is installed")
    return found.base, None if found.storage_prefix is None else found.name


def _not_available(name: str, reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"Model {name} is not available for fine-tuning {reason}",
        param="model",
        code="model_not_available",
    )


def _no_wandb_key() -> InvalidRequest:
    return InvalidRequest(
        "No Weights & Biases credential is configured here. Ask the operator to set "
        "WANDB_API_KEY, or leave out 'integrations' and read the metrics from the job's events or "
        "its result file.",
        param="integrations",
    )


def _usable_file(session: Session, project_id: str, file_id: str, param: str) -> File:
    file = files.find(session, project_id, file_id, lock="share")
    if file is None:
        raise InvalidRequest(
            f"File '{file_id}' does not exist or you do not have access to it. Upload it with "
            "purpose 'fine-tune' and use the id that you get.",
            param=param,
        )
    if file.purpose != intake.TRAINING:
        raise InvalidRequest(
            f"File '{file_id}' has purpose '{file.purpose}', but fine-tuning needs a file with "
            "purpose 'fine-tune'. Upload it again with that purpose.",
            param=param,
        )
    return file


def _held_out(session: Session, project_id: str, asked: CreateJob) -> File | None:
    if asked.validation_file is None:
        return None
    return _usable_file(session, project_id, asked.validation_file, "validation_file")
