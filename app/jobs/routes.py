"""Routes of /v1/fine_tuning/jobs."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.orm import Session

from app.db.tables import Job
from app.errors import InvalidRequest
from app.http.dependencies import (
    AfterCursor,
    AppState,
    AppStateDep,
    PrincipalDep,
    ReadSessionDep,
    SessionDep,
)
from app.http.idempotency import IDEMPOTENT, IDEMPOTENT_BY_KEY, IdempotentRoute
from app.http.query_params import (
    METADATA_PARAMETER,
    TimeRange,
    parse_metadata_filter,
    time_range,
)
from app.jobs import attempts, lifecycle, metric_series, progress_report, serializers, service
from app.jobs.hyperparameters import MethodName
from app.jobs.job_filter import JobFilter, JobStatusFilter
from app.jobs.job_rules import JobRules
from app.jobs.progress_report import ProgressReport
from app.jobs.schemas import (
    AttemptList,
    CheckpointList,
    CreateJob,
    EventList,
    JobList,
    JobMetrics,
    JobObject,
)
from app.models import registry
from app.wire.base import fill_page, page_cursors

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["fine-tuning"], route_class=IdempotentRoute)

Limit = Annotated[int, Query(ge=0, le=1000)]
Include = Annotated[
    list[Literal["progress", "requested_hyperparameters", "loss_curve"]] | None,
    Query(
        max_length=10,
        description=(
            "Extension: `progress` adds the job's steps, time left, and why it waits, "
            "`requested_hyperparameters` those of the request, with `auto` where training chose, "
            "and `loss_curve` 64 points of the training loss, of up to 100 jobs."
        ),
    ),
]
MAX_LOSS_CURVES = 100
ModelFilter = Annotated[
    str | None,
    Query(max_length=256, description="Extension: the model that jobs start from, or its alias"),
]
Search = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=128,
        description="Extension: a part of the id, the suffix or the fine-tuned model's name",
    ),
]


@router.post("", dependencies=[IDEMPOTENT])
def create(
    body: CreateJob, state: AppStateDep, principal: PrincipalDep, session: SessionDep
) -> JobObject:
    """Start a fine-tuning job."""
    rules = JobRules.from_settings(state.settings, state.catalog)
    job = service.create(session, rules, principal.project_id, body)
    return serializers.serialize_job(job, principal.organization_id)


@router.get("", openapi_extra={"parameters": [METADATA_PARAMETER]})
def list_jobs(
    request: Request,
    principal: PrincipalDep,
    session: ReadSessionDep,
    state: AppStateDep,
    created_at: Annotated[TimeRange, Depends(time_range("created_at"))],
    after: AfterCursor = None,
    limit: Limit = 20,
    status: Annotated[list[JobStatusFilter] | None, Query(max_length=9)] = None,
    model: ModelFilter = None,
    method: MethodName | None = None,
    search: Search = None,
    include: Include = None,
) -> JobList:
    """List jobs, newest first. `metadata[key]=value` keeps jobs with that pair, `metadata=null`
    jobs without any."""
    if "loss_curve" in (include or ()) and limit > MAX_LOSS_CURVES:
        raise InvalidRequest(
            f"A page with 'loss_curve' has at most {MAX_LOSS_CURVES} jobs. Lower 'limit'.",
            param="limit",
            code="invalid_value",
        )
    if model is not None:
        model = registry.find_stored_name(session, state.catalog, principal.project_id, model)
    chosen = JobFilter(
        metadata=parse_metadata_filter(request),
        statuses=status,
        model=model,
        method=method,
        search=search,
        created_since=created_at.since,
        created_before=created_at.before,
    )
    page = service.list_jobs(
        session, state.catalog, principal.project_id, chosen, after=after, limit=limit
    )
    jobs = _serialize(session, state, principal.organization_id, page.rows, include)
    data, has_more = fill_page(jobs, has_more=page.has_more)
    return JobList(data=data, has_more=has_more)


@router.get("/{job_id}")
def retrieve(
    job_id: str,
    state: AppStateDep,
    principal: PrincipalDep,
    session: ReadSessionDep,
    include: Include = None,
) -> JobObject:
    job = service.get(session, principal.project_id, job_id)
    return next(_serialize(session, state, principal.organization_id, [job], include))


@router.post("/{job_id}/cancel", dependencies=[IDEMPOTENT_BY_KEY])
def cancel(job_id: str, principal: PrincipalDep, session: SessionDep) -> JobObject:
    """Cancel a job that has not ended."""
    job = lifecycle.cancel(session, principal.project_id, job_id)
    return serializers.serialize_job(job, principal.organization_id)


@router.post("/{job_id}/pause", dependencies=[IDEMPOTENT_BY_KEY])
def pause(job_id: str, principal: PrincipalDep, session: SessionDep) -> JobObject:
    """Stop a job at a checkpoint; its status stays running until the checkpoint is stored."""
    job = lifecycle.pause(session, principal.project_id, job_id)
    return serializers.serialize_job(job, principal.organization_id)


@router.post("/{job_id}/resume", dependencies=[IDEMPOTENT_BY_KEY])
def resume(
    job_id: str, state: AppStateDep, principal: PrincipalDep, session: SessionDep
) -> JobObject:
    """Resume a paused job from its last checkpoint."""
    limit = state.settings.max_queued_jobs_per_project
    job = lifecycle.resume(session, principal.project_id, job_id, max_queued=limit)
    return serializers.serialize_job(job, principal.organization_id)


@router.get("/{job_id}/events")
def list_events(
    job_id: str,
    principal: PrincipalDep,
    session: ReadSessionDep,
    after: AfterCursor = None,
    limit: Limit = 20,
) -> EventList:
    """List a job's events, newest first."""
    page = service.list_events(session, principal.project_id, job_id, after=after, limit=limit)
    events = map(serializers.serialize_event, page.rows)
    data, has_more = fill_page(events, has_more=page.has_more)
    return EventList(data=data, has_more=has_more)


@router.get("/{job_id}/checkpoints")
def list_checkpoints(
    job_id: str,
    principal: PrincipalDep,
    session: ReadSessionDep,
    after: AfterCursor = None,
    limit: Limit = 10,
) -> CheckpointList:
    """List a job's servable checkpoints, newest first."""
    page = service.list_checkpoints(session, principal.project_id, job_id, after=after, limit=limit)
    data = [serializers.serialize_checkpoint(row) for row in page.rows]
    return CheckpointList(data=data, has_more=page.has_more, **page_cursors(data))


@router.get("/{job_id}/metrics")
def list_metrics(
    job_id: str,
    principal: PrincipalDep,
    session: ReadSessionDep,
    after_step: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    max_points: Annotated[int, Query(ge=4, le=10_000)] = 1000,
) -> JobMetrics:
    """List a job's metrics per step (extension). Of more than `max_points` steps, each metric keeps
    about that many points, among them its lowest and highest."""
    job = service.get(session, principal.project_id, job_id)
    curves = metric_series.read_curves(
        session, job_id, after_step=after_step, max_points=max_points
    )
    return serializers.serialize_curves(job, curves)


@router.get("/{job_id}/attempts")
def list_attempts(
    job_id: str,
    principal: PrincipalDep,
    session: ReadSessionDep,
    after: AfterCursor = None,
    limit: Annotated[int, Query(ge=0, le=100)] = 20,
) -> AttemptList:
    """List the attempts at a job, newest first, each with the tail of its log (extension)."""
    page = attempts.list_attempts(session, principal.project_id, job_id, after=after, limit=limit)
    open_steps = attempts.find_open_steps(session, page.rows)
    rows = (serializers.serialize_attempt(row, open_steps) for row in page.rows)
    data, has_more = fill_page(rows, has_more=page.has_more)
    return AttemptList(data=data, has_more=has_more)


def _serialize(
    session: Session,
    state: AppState,
    organization_id: str,
    jobs: Sequence[Job],
    include: Sequence[str] | None,
) -> Iterator[JobObject]:
    """Serialize jobs with what the request includes."""
    included = include or ()
    reports = _report_progress(session, state, jobs) if "progress" in included else {}
    has_curves = "loss_curve" in included
    ids = [job.id for job in jobs]
    curves = metric_series.sample_losses(session, ids) if has_curves else {}
    for job in jobs:
        yield serializers.serialize_job(
            job,
            organization_id,
            reports.get(job.id),
            has_requested_hyperparameters="requested_hyperparameters" in included,
            loss_curve=curves.get(job.id, {}) if has_curves else None,
        )


def _report_progress(
    session: Session, state: AppState, jobs: Sequence[Job]
) -> dict[str, ProgressReport]:
    settings = state.settings
    return progress_report.report(
        session,
        jobs,
        max_running=settings.max_running_jobs_per_project,
        heartbeat_seconds=settings.heartbeat_interval_seconds,
    )
