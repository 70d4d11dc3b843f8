"""/healthz and /readyz, for whoever watches over the process; no key is needed."""

from collections.abc import Callable
from functools import partial

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Response

from app.http.dependencies import AppStateDep, run_in_transaction
from app.inference.dependencies import EnginesDep
from app.operations import health, trainers
from app.operations.health import Probe
from app.operations.schemas import Alive, Check, Readiness
from app.wire.base import ErrorEnvelope

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def alive() -> Alive:
    """The process answers. It asks nothing else: a restart would not mend a broken database."""
    return Alive()


@router.get("/readyz", responses={503: {"model": Readiness | ErrorEnvelope}})
async def ready(parts: AppStateDep, engines: EnginesDep, response: Response) -> Readiness:
    """Everything that requests need can be used; 503 if not, with the part that cannot.

    Trainers that have stopped taking jobs are told of, but keep nobody from asking for answers.
    """
    probes: dict[str, Probe] = {
        "database": _thread_probe(
            partial(health.check_database, parts.sessions), parts.probe_slots
        ),
        "broker": _thread_probe(parts.notifier.check, parts.probe_slots),
        "storage": _thread_probe(parts.store.check, parts.probe_slots),
        "engine": engines.check_health,
    }
    problems = await health.run_probes(probes)
    checks = {name: Check(ok=told is None, message=told) for name, told in problems.items()}
    if any(problems.values()):
        response.status_code = 503
        return Readiness(status="unavailable", checks=checks)
    heartbeat = parts.settings.heartbeat_seconds
    told = await run_in_transaction(
        parts, partial(trainers.health_problem, heartbeat_seconds=heartbeat)
    )
    checks["trainers"] = Check(ok=told is None, message=told)
    return Readiness(status="ok" if told is None else "degraded", checks=checks)


def _thread_probe(check: Callable[[], None], limiter: CapacityLimiter) -> Probe:
    # Abandoned when the time is up: a hanging check ends by its own, longer timeout.
    return partial(to_thread.run_sync, check, abandon_on_cancel=True, limiter=limiter)
