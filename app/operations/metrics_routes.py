"""/metrics: the service's numbers, and those of an organization's tuned models."""

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from app.http.dependencies import AdminDep, AppStateDep, ReadSessionDep
from app.http.openapi import TEXT_SCHEMA, success_response
from app.monitoring.dependencies import RecorderDep
from app.operations.metrics import ServiceCollector

router = APIRouter(tags=["monitoring"])


@router.get(
    "/metrics", response_class=Response, responses=success_response("text/plain", TEXT_SCHEMA)
)
def metrics(
    parts: AppStateDep, recorder: RecorderDep, admin: AdminDep, session: ReadSessionDep
) -> Response:
    """How the service does, and what the organization's tuned models were asked.

    In Prometheus' text format.
    """
    registry = CollectorRegistry()
    registry.register(ServiceCollector(session, heartbeat_seconds=parts.settings.heartbeat_seconds))
    registry.register(recorder.counters.for_organization(admin.organization_slug))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
