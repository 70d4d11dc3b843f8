"""/metrics"""

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from app.api.deps import AdminDep, PartsDep

router = APIRouter(tags=["monitoring"])


@router.get("/metrics", response_class=Response)
def metrics(parts: PartsDep, admin: AdminDep) -> Response:
    """What the organization's tuned models were asked, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(parts.recorder.totals.of(admin.organization))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
