"""/v1/models/{model}/monitoring and /v1/models/{model}/feedback"""

from typing import Annotated

from fastapi import APIRouter, Query

from app.http.dependencies import AppStateDep, PrincipalDep, ReadSessionDep, SessionDep
from app.http.strict_json import StrictRoute
from app.monitoring import feedback, report
from app.monitoring.dependencies import RecorderDep
from app.monitoring.schemas import CreateFeedback, FeedbackReceipt, MonitoringReport
from app.monitoring.traffic import HOURLY_COUNTS_RETENTION

# Before the routes of models, whose names are paths and would take these for theirs.
router = APIRouter(prefix="/v1/models", tags=["monitoring"], route_class=StrictRoute)

Hours = Annotated[
    int,
    Query(
        ge=1,
        le=HOURLY_COUNTS_RETENTION.days * 24,
        description="So many hours back, the present one included",
    ),
]


@router.get("/{model:path}/monitoring")
def get_monitoring(
    model: str,
    parts: AppStateDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
    session: ReadSessionDep,
    hours: Hours = 24,
) -> MonitoringReport:
    """How a tuned model does in live traffic, beside the file that it was trained on."""
    # So that whoever asks sees what was answered here just before.
    recorder.flush()
    return report.build_report(session, parts.catalog, principal.project_id, model, hours=hours)


@router.post("/{model:path}/feedback")
def create_feedback(
    model: str,
    asked: CreateFeedback,
    parts: AppStateDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
    session: SessionDep,
) -> FeedbackReceipt:
    """Tell what the labels of answered texts really are; all of it is taken, or nothing."""
    recorder.flush()
    changed = feedback.record_feedback(
        session, parts.catalog, principal.project_id, model, asked.feedback
    )
    recorder.counters.register_model(model)
    return FeedbackReceipt(model=model, received=len(asked.feedback), changed=changed)
