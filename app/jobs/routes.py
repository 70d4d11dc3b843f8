"""Routes of /v1/fine_tuning/jobs."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.http.dependencies import AfterCursor, AppStateDep, PrincipalDep, ReadSessionDep, SessionDep
from app.http.idempotency import IDEMPOTENT, IDEMPOTENT_BY_KEY, IdempotentRoute
from app.http.query_params import METADATA_PARAMETER, parse_metadata_filter
from app.jobs import lifecycle, serializers, service
from app.jobs.schemas import CheckpointList, CreateJob, EventList, JobList, JobObject
from app.jobs.wandb_policy import WandbPolicy
from app.wire.base import fill_page, page_cursors

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["fine-tuning"], route_class=IdempotentRoute)

Limit = Annotated[int, Query(ge=0, le=1000)]


@router.post("", dependencies=[IDEMPOTENT])
def create(
    body: CreateJob, state: AppStateDep, principal: PrincipalDep, session: SessionDep
) -> JobObject:
    """Start a fine-tuning job."""
    settings = state.settings
    job = service.create(
        session,
        state.catalog,
        principal.project_id,
        body,
        max_queued=settings.max_queued_jobs_per_project,
        max_tokens=settings.max_job_tokens,
        wandb_policy=WandbPolicy.from_settings(settings),
    )
    return serializers.serialize_job(job, principal.organization_id)


@router.get("", openapi_extra={"parameters": [METADATA_PARAMETER]})
def list_jobs(
    request: Request,
    principal: PrincipalDep,
    session: ReadSessionDep,
    after: AfterCursor = None,
    limit: Limit = 20,
) -> JobList:
    """List jobs, newest first. `metadata[key]=value` keeps jobs with that pair, `metadata=null`
    jobs without any."""
    page = service.list_jobs(
        session,
        principal.project_id,
        metadata=parse_metadata_filter(request),
        after=after,
        limit=limit,
    )
    jobs = (serializers.serialize_job(row, principal.organization_id) for row in page.rows)
    data, has_more = fill_page(jobs, has_more=page.has_more)
    return JobList(data=data, has_more=has_more)


@router.get("/{job_id}")
def retrieve(job_id: str, principal: PrincipalDep, session: ReadSessionDep) -> JobObject:
    job = service.get(session, principal.project_id, job_id)
    return serializers.serialize_job(job, principal.organization_id)


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
