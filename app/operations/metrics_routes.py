"""/metrics: the service's numbers, and those of an organization's tuned models."""

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from app.http.dependencies import AdminDep, PartsDep, ReadingDep
from app.http.openapi import TEXT, answers
from app.monitoring.dependencies import RecorderDep
from app.operations.metrics import Numbers

router = APIRouter(tags=["monitoring"])


@router.get("/metrics", response_class=Response, responses=answers("text/plain", TEXT))
def metrics(
    parts: PartsDep, recorder: RecorderDep, admin: AdminDep, session: ReadingDep
) -> Response:
    """How the service does, and what the organization's tuned models were asked.

    In Prometheus' text format.
    """
    registry = CollectorRegistry()
    registry.register(Numbers(session, heartbeat_seconds=parts.settings.heartbeat_seconds))
    registry.register(recorder.totals.of(admin.organization))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
