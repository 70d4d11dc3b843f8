"""Routes of /healthz, /readyz (without a key), of the operator, and of a project's status."""

from collections.abc import Callable
from functools import partial

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from app.http import metrics as http_metrics
from app.http.dependencies import (
    AdminDep,
    AppState,
    AppStateDep,
    PrincipalDep,
    ReadSessionDep,
    run_autocommit,
    run_in_transaction,
)
from app.http.openapi import TEXT_SCHEMA, DocumentedRoute, success_response
from app.inference import metrics as inference_metrics
from app.inference.dependencies import EnginesDep
from app.jobs import overview, trainers
from app.monitoring.dependencies import RecorderDep
from app.operations import (
    disk_space,
    health,
    periodic_task_runs,
    project_limits,
    service_overview,
)
from app.operations.health import Probe
from app.operations.limit_schemas import ProjectLimits
from app.operations.metrics import DiskCollector, ServiceCollector
from app.operations.schemas import (
    Alive,
    Check,
    Operations,
    PeriodicTaskStatus,
    ProjectStatus,
    Readiness,
    ReadinessStatus,
    RouteTimes,
    UnfinishedJob,
)
from app.wire.base import ErrorEnvelope

router = APIRouter(route_class=DocumentedRoute)

# The newest ones; `luthier jobs list` has more.
MAX_JOBS = 200
MAX_ROUTES = 20


@router.get("/healthz", tags=["health"])
async def alive() -> Alive:
    """Liveness probe. It checks no dependency, since restarting the API would not repair one."""
    return Alive()


@router.get("/readyz", tags=["health"], responses={503: {"model": Readiness | ErrorEnvelope}})
async def ready(state: AppStateDep, engines: EnginesDep, response: Response) -> Readiness:
    """Readiness probe: 503 if a dependency of requests cannot be used.

    Trainers that have stopped taking jobs, and a disk without room for uploads, are reported, but
    do not make the service unavailable.
    """
    probes: dict[str, Probe] = {
        "database": _build_thread_probe(
            partial(health.check_database, state.sessions), state.probe_slots
        ),
        "broker": _build_thread_probe(state.notifier.check, state.probe_slots),
        "storage": _build_thread_probe(
            partial(health.check_storage, state.store), state.probe_slots
        ),
        "engine": engines.check_health,
    }
    problems = await health.run_probes(probes)
    checks = {name: _check(problem) for name, problem in problems.items()}
    if any(problems.values()):
        response.status_code = 503
        return Readiness(status=ReadinessStatus.UNAVAILABLE, checks=checks)
    heartbeat = state.settings.heartbeat_interval_seconds
    problem = await run_in_transaction(
        state, partial(trainers.find_health_problem, heartbeat_seconds=heartbeat)
    )
    checks["trainers"] = _check(problem)
    checks["disk"] = _check(await to_thread.run_sync(_find_disk_problem, state))
    is_degraded = not all(check.ok for check in checks.values())
    status = ReadinessStatus.DEGRADED if is_degraded else ReadinessStatus.OK
    return Readiness(status=status, checks=checks)


@router.get(
    "/metrics",
    tags=["monitoring"],
    response_class=Response,
    responses=success_response("text/plain", TEXT_SCHEMA),
)
def metrics(
    state: AppStateDep, recorder: RecorderDep, admin: AdminDep, session: ReadSessionDep
) -> Response:
    """Metrics of the service and of the organization's fine-tuned models, for Prometheus."""
    registry = CollectorRegistry()
    heartbeat = state.settings.heartbeat_interval_seconds
    registry.register(ServiceCollector(session, heartbeat_seconds=heartbeat))
    registry.register(DiskCollector(disk_space.measure(state.settings, state.store)))
    registry.register(recorder.counters.build_collector(admin.organization_slug))
    pages = map(generate_latest, (registry, http_metrics.REGISTRY, inference_metrics.REGISTRY))
    return Response(b"".join(pages), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/organization/operations", tags=["organization"])
def get_operations(state: AppStateDep, admin: AdminDep, session: ReadSessionDep) -> Operations:
    """Show trainers, unfinished jobs with the reason why each waits, periodic tasks, outbox, sizes,
    and the slowest routes (extension)."""
    settings = state.settings
    jobs = overview.list_jobs(
        session,
        organization_id=admin.organization_id,
        limit=MAX_JOBS,
        max_running=settings.max_running_jobs_per_project,
        heartbeat_seconds=settings.heartbeat_interval_seconds,
    )
    space = disk_space.measure(settings, state.store)
    return Operations(
        trainers=service_overview.list_trainers(
            session,
            admin.organization_id,
            heartbeat_seconds=settings.heartbeat_interval_seconds,
        ),
        jobs=[UnfinishedJob.model_validate(job, from_attributes=True) for job in jobs],
        periodic_tasks=[
            PeriodicTaskStatus.model_validate(task, from_attributes=True)
            for task in periodic_task_runs.list_task_statuses(session)
        ],
        outbox=service_overview.list_outbox(session),
        storage=service_overview.measure_storage(session, space.free_bytes),
        machine=service_overview.measure_machine(space),
        slowest_routes=[
            RouteTimes.model_validate(route, from_attributes=True)
            for route in http_metrics.list_slowest(MAX_ROUTES)
        ],
    )


@router.get("/v1/status", tags=["monitoring"])
def get_status(
    state: AppStateDep, principal: PrincipalDep, session: ReadSessionDep
) -> ProjectStatus:
    """Count the project's unfinished jobs, and say whether another could start now (extension)."""
    settings = state.settings
    return service_overview.find_project_status(
        session,
        principal.project_id,
        max_running=settings.max_running_jobs_per_project,
        heartbeat_seconds=settings.heartbeat_interval_seconds,
        space=disk_space.measure(settings, state.store),
    )


@router.get("/v1/limits", tags=["monitoring"])
async def get_limits(state: AppStateDep, principal: PrincipalDep) -> ProjectLimits:
    """Show the limits of the project and of the key with their present use, and how long stored
    things are kept (extension)."""
    settings = state.settings
    status = await state.rate_limiter.take(principal.key_id, 0, count=0)
    quotas = await run_autocommit(
        state,
        lambda session: list(project_limits.list_quotas(session, settings, principal.project_id)),
    )
    return ProjectLimits(
        limits=[*project_limits.list_rate_limits(settings, status), *quotas],
        retention=list(project_limits.list_retention(settings)),
    )


def _check(problem: str | None) -> Check:
    return Check(ok=problem is None, message=problem)


def _find_disk_problem(state: AppState) -> str | None:
    space = disk_space.measure(state.settings, state.store)
    return space.find_problem(state.settings.disk_reserve_bytes)


def _build_thread_probe(check: Callable[[], None], limiter: CapacityLimiter) -> Probe:
    # Abandoned on timeout; a hanging check ends with its own, longer timeout.
    return partial(to_thread.run_sync, check, abandon_on_cancel=True, limiter=limiter)
