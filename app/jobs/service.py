"""Create, get and list jobs, their events and checkpoints. For state changes see `lifecycle`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, select, text, true
from sqlalchemy.orm import Session, aliased

from app import ids
from app.auth import projects
from app.catalog import Catalog, CatalogModel
from app.db import pagination
from app.db.pagination import Page
from app.db.tables import (
    WITHOUT_METADATA_SQL,
    Checkpoint,
    CheckpointKind,
    File,
    FilePurpose,
    Job,
    JobEvent,
    JobMetadata,
    JobState,
)
from app.errors import InvalidRequest, NotFound
from app.files import service as files
from app.jobs import attached_evals, lifecycle, limits, option_checks, scheduling, unknown_fields
from app.jobs.job_filter import JobFilter
from app.jobs.job_rules import JobRules
from app.jobs.schemas import CreateJob
from app.jobs.unknown_fields import IgnoredFields
from app.models import registry

# Metadata pairs with at least this many jobs count as equally common.
MAX_COUNTED_JOBS = 1000
# Built once, since clients poll their jobs.
JOB_BY_ID = select(Job).where(
    Job.id == bindparam("job_id"), Job.project_id == bindparam("project_id")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRequest:
    """Model and files that a request for a job refers to, and what else becomes of it."""

    base: CatalogModel
    start_model: str | None
    training: File
    validation: File | None
    test: File | None
    hyperparameters: dict[str, Any]
    evaluations: list[dict[str, Any]] | None
    integrations: list[dict[str, Any]]
    ignored: IgnoredFields


def create(session: Session, rules: JobRules, project_id: str, request: CreateJob) -> Job:
    """Create a job and enqueue the validation of its files.

    Raises Forbidden, TooManyQueuedJobs, and InvalidRequest naming the parameter.
    """
    # The project's lock first: a job created while its project is archived would never be
    # cancelled, and with the queue's lock first, create, resume and archive could deadlock.
    projects.lock_active(session, project_id)
    scheduling.check_queue_quota(session, project_id, default=rules.max_queued)
    checked = check(session, rules, project_id, request)
    job = Job(
        id=ids.job_id(),
        project_id=project_id,
        state=JobState.VALIDATING_FILES,
        base_model=checked.base.id,
        start_model=checked.start_model,
        training_file_id=checked.training.id,
        validation_file_id=None if checked.validation is None else checked.validation.id,
        test_file_id=None if checked.test is None else checked.test.id,
        test_metrics=list(request.test_metrics or ()),
        method=request.method_type,
        hyperparameters=checked.hyperparameters,
        seed=ids.random_seed() if request.seed is None else request.seed,
        suffix=request.suffix,
        integrations=checked.integrations,
    )
    # Left unset rather than None, which would store JSON null instead of SQL NULL.
    if request.metadata is not None:
        job.user_metadata = request.metadata
    if checked.evaluations is not None:
        job.evaluations = checked.evaluations
    session.add(job)
    lifecycle.announce_created(session, job, ignored=checked.ignored)
    return job


def check(session: Session, rules: JobRules, project_id: str, request: CreateJob) -> CheckedRequest:
    """Check a request for a job, and lock its files and model. Raises InvalidRequest."""
    base, start_model = _resolve_model(session, rules.catalog, project_id, request.model)
    ignored = unknown_fields.check_unknown_fields(request)
    option_checks.check_options(session, rules, base, start_model, request)
    integrations = [integration.to_stored() for integration in request.integrations or ()]
    rules.wandb_policy.check(project_id, integrations)
    training = _get_training_input(session, project_id, request.training_file, "training_file")
    validation = _find_input(session, project_id, request.validation_file, "validation_file")
    test = _find_input(session, project_id, request.test_file, "test_file")
    hyperparameters = request.merge_hyperparameters()
    limits.check_token_limit(base, training, hyperparameters, max_tokens=rules.max_tokens)
    return CheckedRequest(
        base=base,
        start_model=start_model,
        training=training,
        validation=validation,
        test=test,
        hyperparameters=hyperparameters,
        evaluations=attached_evals.find(session, base, project_id, request),
        integrations=integrations,
        ignored=ignored,
    )


def get(session: Session, project_id: str, job_id: str) -> Job:
    """Get a project's job. Raises NotFound, also for another project's job."""
    job = session.scalars(JOB_BY_ID, {"job_id": job_id, "project_id": project_id}).one_or_none()
    if job is None:
        raise lifecycle.build_job_not_found(job_id)
    return job


def list_jobs(
    session: Session,
    catalog: Catalog,
    project_id: str,
    chosen: JobFilter,
    *,
    after: str | None,
    limit: int,
) -> Page[Job]:
    """List a page of a project's jobs, newest first."""
    jobs = select(Job).where(Job.project_id == project_id)
    conditions = chosen.conditions(catalog)
    if chosen.metadata:
        matching, sort_columns = _select_with_metadata(session, project_id, chosen.metadata)
        return pagination.fetch_page_by_age(
            session,
            matching.where(*conditions),
            cursor_rows=jobs,
            after=after,
            limit=limit,
            sort_columns=sort_columns,
        )
    matching = jobs.where(*conditions)
    if chosen.metadata is None:
        matching = matching.where(text(WITHOUT_METADATA_SQL))
    return pagination.fetch_page_by_age(
        session, matching, cursor_rows=jobs, after=after, limit=limit
    )


def _select_with_metadata(
    session: Session, project_id: str, metadata: Mapping[str, str]
) -> tuple[Select[Job], tuple[Any, Any]]:
    """Select the project's jobs that have all these pairs; return also their sort columns.

    Walks the index of the rarest pair and looks the others up, so a page reads little more than
    the jobs it returns. The planner would otherwise sort all jobs of a common pair, since it takes
    the conditions of a join for independent and so underestimates the result.
    """
    rarest, *others = sorted(
        metadata.items(),
        key=lambda pair: _count_jobs_with_pair(session, project_id, pair, len(metadata)),
    )
    row = aliased(JobMetadata)
    jobs = select(Job).join(row, row.job_id == Job.id).where(_matches_pair(row, project_id, rarest))
    for pair in others:
        other = aliased(JobMetadata)
        same_job = and_(other.created_at == row.created_at, other.job_id == row.job_id)
        # The limit keeps the planner from turning the lookup into a join.
        lookup = (
            select(other.job_id).where(_matches_pair(other, project_id, pair), same_job).limit(1)
        )
        jobs = jobs.join(lookup.lateral(), true())
    return jobs, (row.created_at, row.job_id)


def _count_jobs_with_pair(
    session: Session, project_id: str, pair: tuple[str, str], pairs: int
) -> int:
    """Count the jobs with a pair, up to MAX_COUNTED_JOBS; 0 if there is only one pair to choose."""
    if pairs == 1:
        return 0
    jobs = (
        select(JobMetadata.job_id)
        .where(_matches_pair(JobMetadata, project_id, pair))
        .limit(MAX_COUNTED_JOBS)
    )
    return session.scalars(select(func.count()).select_from(jobs.subquery())).one()


def _matches_pair(
    row: type[JobMetadata], project_id: str, pair: tuple[str, str]
) -> ColumnElement[bool]:
    key, value = pair
    return and_(row.project_id == project_id, row.key == key, row.value == value)


def list_events(
    session: Session, project_id: str, job_id: str, *, after: str | None, limit: int
) -> Page[JobEvent]:
    """List a page of a job's events, newest first. Raises NotFound."""
    get(session, project_id, job_id)
    statement = select(JobEvent).where(JobEvent.job_id == job_id)
    if after is not None:
        cursor_rows = select(JobEvent).where(JobEvent.id == after, JobEvent.job_id == job_id)
        cursor = pagination.find_cursor_row(session, cursor_rows)
        if cursor is None:
            return pagination.EMPTY_PAGE
        statement = statement.where(JobEvent.seq < cursor.seq)
    return pagination.fetch_page(session, statement.order_by(JobEvent.seq.desc()), limit=limit)


def list_checkpoints(
    session: Session, project_id: str, job_id: str, *, after: str | None, limit: int
) -> Page[Checkpoint]:
    """List a page of a job's servable checkpoints, newest first. Raises NotFound."""
    get(session, project_id, job_id)
    servable = select(Checkpoint).where(
        Checkpoint.job_id == job_id, Checkpoint.kind == CheckpointKind.USER
    )
    statement = servable.where(Checkpoint.deleted_at.is_(None))
    if after is not None:
        cursor = pagination.find_cursor_row(session, servable.where(Checkpoint.id == after))
        if cursor is None:
            return pagination.EMPTY_PAGE
        statement = statement.where(Checkpoint.step < cursor.step)
    return pagination.fetch_page(session, statement.order_by(Checkpoint.step.desc()), limit=limit)


def _resolve_model(
    session: Session, catalog: Catalog, project_id: str, name: str
) -> tuple[CatalogModel, str | None]:
    try:
        # Locked, or it could be deleted before the job exists to protect it.
        model = registry.resolve(session, catalog, project_id, name, share_lock=True)
    except NotFound as error:
        raise _build_model_not_available(name, "or does not exist") from error
    if not model.base.methods:
        raise _build_model_not_available(
            name, f"because no method for {model.base.kind} models is installed"
        )
    return model.base, None if model.storage_prefix is None else model.name


def _build_model_not_available(name: str, reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"Model {name} is not available for fine-tuning {reason}",
        param="model",
        code="model_not_available",
    )


def _get_training_input(session: Session, project_id: str, file_id: str, param: str) -> File:
    file = files.find(session, project_id, file_id, lock="share")
    if file is None:
        raise InvalidRequest(
            f"File '{file_id}' does not exist or you do not have access to it. Upload it with "
            "purpose 'fine-tune' and use the returned id.",
            param=param,
        )
    if file.purpose != FilePurpose.FINE_TUNE:
        raise InvalidRequest(
            f"File '{file_id}' has purpose '{file.purpose}', but fine-tuning needs a file with "
            "purpose 'fine-tune'. Upload it again with that purpose.",
            param=param,
        )
    return file


def _find_input(session: Session, project_id: str, file_id: str | None, param: str) -> File | None:
    return None if file_id is None else _get_training_input(session, project_id, file_id, param)
