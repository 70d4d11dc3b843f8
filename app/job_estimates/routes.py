"""Route of job estimates, an extension."""

from fastapi import APIRouter

from app.http.dependencies import AppStateDep, PrincipalDep
from app.http.strict_json import StrictRoute
from app.inference.dependencies import EnginesDep
from app.job_estimates import service
from app.job_estimates.schemas import JobEstimate
from app.jobs.schemas import CreateJob
from app.training_data.dependencies import TrainingDataDep

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["fine-tuning"], route_class=StrictRoute)


@router.post("/estimate")
async def estimate(
    body: CreateJob,
    state: AppStateDep,
    principal: PrincipalDep,
    engines: EnginesDep,
    memory: TrainingDataDep,
) -> JobEstimate:
    """Estimate a job without creating it: the numbers that `auto` chooses and why, its tokens,
    steps, time and memory, and the project's queue. An extension; the body is that of a new job."""
    return await service.estimate(state, engines, memory, principal.project_id, body)
