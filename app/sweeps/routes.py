"""Routes of /v1/fine_tuning/sweeps."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from app.db.tables import Sweep
from app.http.dependencies import AfterCursor, AppStateDep, PrincipalDep, ReadSessionDep, SessionDep
from app.http.idempotency import IDEMPOTENT, IDEMPOTENT_BY_KEY, IdempotentRoute
from app.jobs.job_rules import JobRules
from app.sweeps import lifecycle, serializers, service
from app.sweeps.schemas import CreateSweep, SweepEventList, SweepList, SweepObject
from app.wire.base import fill_page

router = APIRouter(
    prefix="/v1/fine_tuning/sweeps", tags=["fine-tuning"], route_class=IdempotentRoute
)

Limit = Annotated[int, Query(ge=0, le=1000)]
# Each sweep of a page comes with its trials.
SweepLimit = Annotated[int, Query(ge=0, le=100)]


@router.post("", dependencies=[IDEMPOTENT])
def create(
    body: CreateSweep, state: AppStateDep, principal: PrincipalDep, session: SessionDep
) -> SweepObject:
    """Start a sweep: jobs that differ in some hyperparameters, of which the best is named."""
    rules = JobRules.from_settings(state.settings, state.catalog)
    sweep = service.create(session, rules, principal.project_id, body)
    return _serialize(session, sweep)


@router.get("")
def list_sweeps(
    principal: PrincipalDep,
    session: ReadSessionDep,
    after: AfterCursor = None,
    limit: SweepLimit = 20,
) -> SweepList:
    """List sweeps, newest first."""
    page = service.list_sweeps(session, principal.project_id, after=after, limit=limit)
    trials = service.list_trials(session, page.rows)
    sweeps = (serializers.serialize_sweep(row, trials[row.id]) for row in page.rows)
    data, has_more = fill_page(sweeps, has_more=page.has_more)
    return SweepList(data=data, has_more=has_more)


@router.get("/{sweep_id}")
def retrieve(sweep_id: str, principal: PrincipalDep, session: ReadSessionDep) -> SweepObject:
    return _serialize(session, service.get(session, principal.project_id, sweep_id))


@router.post("/{sweep_id}/cancel", dependencies=[IDEMPOTENT_BY_KEY])
def cancel(sweep_id: str, principal: PrincipalDep, session: SessionDep) -> SweepObject:
    """Cancel a running sweep and its unfinished jobs."""
    sweep = lifecycle.cancel(session, principal.project_id, sweep_id)
    session.refresh(sweep)
    return _serialize(session, sweep)


@router.get("/{sweep_id}/events")
def list_events(
    sweep_id: str,
    principal: PrincipalDep,
    session: ReadSessionDep,
    after: AfterCursor = None,
    limit: Limit = 20,
) -> SweepEventList:
    """List a sweep's events, newest first."""
    page = service.list_events(session, principal.project_id, sweep_id, after=after, limit=limit)
    events = map(serializers.serialize_event, page.rows)
    data, has_more = fill_page(events, has_more=page.has_more)
    return SweepEventList(data=data, has_more=has_more)


def _serialize(session: Session, sweep: Sweep) -> SweepObject:
    return serializers.serialize_sweep(sweep, service.list_trials(session, [sweep])[sweep.id])
