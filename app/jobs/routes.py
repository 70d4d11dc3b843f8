"""/v1/fine_tuning/jobs"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from app.errors import InvalidRequest
from app.http.dependencies import After, PartsDep, PrincipalDep, ReadingDep, SessionDep
from app.http.idempotency import ONCE, ONCE_BY_KEY, RepeatableRoute
from app.jobs import lifecycle
from app.jobs import serializers as shapes
from app.jobs import service as jobs
from app.jobs.schemas import CheckpointList, CreateJob, EventList, EventObject, JobList, JobObject
from app.wire.base import page_cursors

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["fine-tuning"], route_class=RepeatableRoute)

Limit = Annotated[int, Query(ge=0, le=1000)]
# No job has more; each costs the database a join.
MOST_PAIRS = 16
# FastAPI has no parameters of this style: `_metadata` reads it.
METADATA: dict[str, Any] = {
    "name": "metadata",
    "in": "query",
    "description": "`metadata[key]=value` for each pair that jobs must have; "
    "`metadata=null` for jobs without any",
    "style": "deepObject",
    "explode": True,
    "schema": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "maxProperties": MOST_PAIRS,
    },
}


@router.post("", dependencies=[ONCE])
def create(
    asked: CreateJob, parts: PartsDep, principal: PrincipalDep, session: SessionDep
) -> JobObject:
    """Start a fine-tuning job."""
    settings = parts.settings
    job = jobs.create(
        session,
        parts.catalog,
        principal.project_id,
        asked,
        max_queued=settings.max_queued_jobs_per_project,
        wandb=settings.has_wandb,
    )
    return shapes.job(job, principal.organization_id)


@router.get("", openapi_extra={"parameters": [METADATA]})
def list_jobs(
    request: Request,
    principal: PrincipalDep,
    session: ReadingDep,
    after: After = None,
    limit: Limit = 20,
) -> JobList:
    """Newest first. `metadata[key]=value` keeps jobs with it, `metadata=null` those without any."""
    page = jobs.list_(
        session,
        principal.project_id,
        metadata=_metadata(request),
        after=after,
        limit=limit,
    )
    data = [shapes.job(row, principal.organization_id) for row in page.rows]
    return JobList(data=data, has_more=page.has_more)


@router.get("/{job_id}")
def retrieve(job_id: str, principal: PrincipalDep, session: ReadingDep) -> JobObject:
    job = jobs.retrieve(session, principal.project_id, job_id)
    return shapes.job(job, principal.organization_id)


@router.post("/{job_id}/cancel", dependencies=[ONCE_BY_KEY])
def cancel(job_id: str, principal: PrincipalDep, session: SessionDep) -> JobObject:
    """Cancel a job that has not ended."""
    job = lifecycle.cancel(session, principal.project_id, job_id)
    return shapes.job(job, principal.organization_id)


@router.post("/{job_id}/pause", dependencies=[ONCE_BY_KEY])
def pause(job_id: str, principal: PrincipalDep, session: SessionDep) -> JobObject:
    """Have a job keep its place and stop; it reads as running until its place is stored."""
    job = lifecycle.pause(session, principal.project_id, job_id)
    return shapes.job(job, principal.organization_id)


@router.post("/{job_id}/resume", dependencies=[ONCE_BY_KEY])
def resume(job_id: str, parts: PartsDep, principal: PrincipalDep, session: SessionDep) -> JobObject:
    """Have a paused job go on from where it stopped."""
    limit = parts.settings.max_queued_jobs_per_project
    job = lifecycle.resume(session, principal.project_id, job_id, max_queued=limit)
    return shapes.job(job, principal.organization_id)


@router.get("/{job_id}/events")
def list_events(
    job_id: str,
    principal: PrincipalDep,
    session: ReadingDep,
    after: After = None,
    limit: Limit = 20,
) -> EventList:
    """Newest first."""
    page = jobs.events(session, principal.project_id, job_id, after=after, limit=limit)
    data = [EventObject.model_validate(row) for row in page.rows]
    return EventList(data=data, has_more=page.has_more)


@router.get("/{job_id}/checkpoints")
def list_checkpoints(
    job_id: str,
    principal: PrincipalDep,
    session: ReadingDep,
    after: After = None,
    limit: Limit = 10,
) -> CheckpointList:
    """Newest first; each can be used as a model."""
    page = jobs.checkpoints(session, principal.project_id, job_id, after=after, limit=limit)
    data = [shapes.checkpoint(row) for row in page.rows]
    return CheckpointList(data=data, has_more=page.has_more, **page_cursors(data))


def _metadata(request: Request) -> dict[str, str] | None:
    """The filter of a list: `metadata[key]=value` pairs, {} without any, None for `null`.

    Raises InvalidRequest for what would otherwise be left out, and show more than was asked for.
    """
    asked = [
        (name, value)
        for name, value in request.query_params.multi_items()
        if name == "metadata" or name.startswith("metadata[")
    ]
    # The Node SDK writes its null as nothing.
    if asked in ([("metadata", "null")], [("metadata", "")]):
        return None
    pairs = {name[len("metadata[") : -1]: value for name, value in asked if name.endswith("]")}
    if len(pairs) < len(asked) or len(pairs) > MOST_PAIRS:
        raise InvalidRequest(
            f"Invalid 'metadata': write `metadata[key]=value`, each key once and {MOST_PAIRS} at "
            "most, or `metadata=null` for jobs without metadata.",
            param="metadata",
            code="invalid_value",
        )
    return pairs
