"""Jobs as their owner handles them: created, listed, looked at. Their life is in `lifecycle`."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, select, text, true
from sqlalchemy.orm import Session, aliased

from app import ids
from app.auth import projects
from app.catalog import Catalog, CatalogModel
from app.db import pagination
from app.db.pagination import Page
from app.db.tables import WITHOUT_METADATA_SQL, Checkpoint, File, Job, JobEvent, JobMetadata
from app.errors import InvalidRequest, NotFound
from app.files import intake
from app.files import service as files
from app.jobs import lifecycle, option_checks, quotas
from app.jobs.schemas import CreateJob
from app.models import registry

# A pair that so many jobs have is walked like any other that is as common.
MAX_COUNTED_JOBS = 1000
# Made once, as in `keys`: clients poll their jobs.
JOB_BY_ID = select(Job).where(
    Job.id == bindparam("job_id"), Job.project_id == bindparam("project_id")
)


def create(
    session: Session,
    catalog: Catalog,
    project_id: str,
    request: CreateJob,
    *,
    max_queued: int = 0,
    wandb_available: bool = False,
) -> Job:
    """A new job, on its way to be validated.

    `max_queued` is for projects without a limit of their own; 0 is no limit. `wandb` is whether
    Weights & Biases can be reached with a key of the operator's. Raises Forbidden, TooManyJobs, and
    InvalidRequest with the parameter at fault.
    """
    # Before anything else: a job that is made while its project ends would go on unseen. And with
    # the lock on the queue first, this, a resumption and an archiving could wait in a circle.
    projects.require_active(session, project_id)
    quotas.check_queue_quota(session, project_id, default=max_queued)
    base, start_model = _resolve_model(session, catalog, project_id, request.model)
    option_checks.check_options(session, base, start_model, request)
    if request.integrations and not wandb_available:
        raise _wandb_not_configured()
    training = _get_training_input(session, project_id, request.training_file, "training_file")
    held_out = _get_validation_input(session, project_id, request)
    job = Job(
        id=ids.job_id(),
        project_id=project_id,
        state="validating_files",
        base_model=base.id,
        start_model=start_model,
        training_file_id=training.id,
        validation_file_id=None if held_out is None else held_out.id,
        method=request.method_type,
        hyperparameters=request.chosen_hyperparameters(),
        seed=ids.random_seed() if request.seed is None else request.seed,
        suffix=request.suffix,
        integrations=[integration.model_dump() for integration in request.integrations or ()],
    )
    # Not set to None: that would store JSON's null, which is not SQL's.
    if request.metadata is not None:
        job.user_metadata = request.metadata
    session.add(job)
    lifecycle.announce_created(
        session, job, unknown_hyperparameters=request.unknown_hyperparameters()
    )
    return job


def get(session: Session, project_id: str, job_id: str) -> Job:
    """A project's job. Raises NotFound for another project's too."""
    job = session.scalars(JOB_BY_ID, {"job_id": job_id, "project_id": project_id}).one_or_none()
    if job is None:
        raise lifecycle.job_not_found(job_id)
    return job


def list_jobs(
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
        found, place = _select_with_metadata(session, project_id, metadata)
        return pagination.page_by_age(
            session, found, cursor_rows=mine, after=after, limit=limit, sort_columns=place
        )
    found = mine if metadata is not None else mine.where(text(WITHOUT_METADATA_SQL))
    return pagination.page_by_age(session, found, cursor_rows=mine, after=after, limit=limit)


def _select_with_metadata(
    session: Session, project_id: str, metadata: Mapping[str, str]
) -> tuple[Select[Job], tuple[Any, Any]]:
    """A project's jobs that have all these pairs, and the columns of their order.

    Walks the index of the rarest pair and looks the others up, so that a page ends after so many
    jobs. The planner, left alone, would sort all jobs of a pair that many have: it takes the
    conditions of a join for independent, and so its result for small.
    """
    rarest, *others = sorted(
        metadata.items(),
        key=lambda pair: _count_jobs_with_pair(session, project_id, pair, len(metadata)),
    )
    row = aliased(JobMetadata)
    found = (
        select(Job).join(row, row.job_id == Job.id).where(_matches_pair(row, project_id, rarest))
    )
    for pair in others:
        other = aliased(JobMetadata)
        of_the_same = and_(other.created_at == row.created_at, other.job_id == row.job_id)
        # The limit keeps the planner from making a join of it.
        has = (
            select(other.job_id).where(_matches_pair(other, project_id, pair), of_the_same).limit(1)
        )
        found = found.join(has.lateral(), true())
    return found, (row.created_at, row.job_id)


def _count_jobs_with_pair(
    session: Session, project_id: str, pair: tuple[str, str], pairs: int
) -> int:
    """How many jobs have a pair, if that matters, counted as far as it does."""
    if pairs == 1:
        return 0
    some = (
        select(JobMetadata.job_id)
        .where(_matches_pair(JobMetadata, project_id, pair))
        .limit(MAX_COUNTED_JOBS)
    )
    return session.scalars(select(func.count()).select_from(some.subquery())).one()


def _matches_pair(
    row: type[JobMetadata], project_id: str, pair: tuple[str, str]
) -> ColumnElement[bool]:
    key, value = pair
    return and_(row.project_id == project_id, row.key == key, row.value == value)


def list_events(
    session: Session, project_id: str, job_id: str, *, after: str | None, limit: int
) -> Page[JobEvent]:
    """A page of a job's events, newest first. Raises NotFound."""
    get(session, project_id, job_id)
    statement = select(JobEvent).where(JobEvent.job_id == job_id)
    if after is not None:
        named = select(JobEvent).where(JobEvent.id == after, JobEvent.job_id == job_id)
        last = pagination.find_cursor_row(session, named)
        if last is None:
            return pagination.EMPTY_PAGE
        statement = statement.where(JobEvent.seq < last.seq)
    return pagination.fetch_page(session, statement.order_by(JobEvent.seq.desc()), limit=limit)


def list_checkpoints(
    session: Session, project_id: str, job_id: str, *, after: str | None, limit: int
) -> Page[Checkpoint]:
    """A page of the checkpoints that can be used as models, newest first. Raises NotFound."""
    get(session, project_id, job_id)
    servable = select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.kind == "user")
    statement = servable.where(Checkpoint.deleted_at.is_(None))
    if after is not None:
        last = pagination.find_cursor_row(session, servable.where(Checkpoint.id == after))
        if last is None:
            return pagination.EMPTY_PAGE
        statement = statement.where(Checkpoint.step < last.step)
    return pagination.fetch_page(session, statement.order_by(Checkpoint.step.desc()), limit=limit)


def _resolve_model(
    session: Session, catalog: Catalog, project_id: str, name: str
) -> tuple[CatalogModel, str | None]:
    try:
        # Kept, or it could be deleted before the job is there to keep it.
        found = registry.resolve(session, catalog, project_id, name, share_lock=True)
    except NotFound as error:
        raise _model_not_available(name, "or does not exist") from error
    if not found.base.methods:
        raise _model_not_available(
            name, f"since no method for {found.base.kind} models is installed"
        )
    return found.base, None if found.storage_prefix is None else found.name


def _model_not_available(name: str, reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"Model {name} is not available for fine-tuning {reason}",
        param="model",
        code="model_not_available",
    )


def _wandb_not_configured() -> InvalidRequest:
    return InvalidRequest(
        "No Weights & Biases credential is configured here. Ask the operator to set "
        "WANDB_API_KEY, or leave out 'integrations' and read the metrics from the job's events or "
        "its result file.",
        param="integrations",
    )


def _get_training_input(session: Session, project_id: str, file_id: str, param: str) -> File:
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


def _get_validation_input(session: Session, project_id: str, asked: CreateJob) -> File | None:
    if asked.validation_file is None:
        return None
    return _get_training_input(session, project_id, asked.validation_file, "validation_file")
