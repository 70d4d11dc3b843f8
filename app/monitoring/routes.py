"""Routes of /v1/models/{model}/monitoring and /v1/models/{model}/feedback."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.http.dependencies import AppStateDep, PrincipalDep, ReadSessionDep, SessionDep
from app.http.strict_json import StrictRoute
from app.monitoring import feedback, report
from app.monitoring.dependencies import RecorderDep
from app.monitoring.schemas import CreateFeedback, FeedbackReceipt, MonitoringReport
from app.monitoring.traffic import HOURLY_COUNTS_RETENTION

# Must be included before the router of /v1/models/{model:path}, which matches these paths too.
router = APIRouter(prefix="/v1/models", tags=["monitoring"], route_class=StrictRoute)

Hours = Annotated[
    int,
    Query(
        ge=1,
        le=HOURLY_COUNTS_RETENTION.days * 24,
        description="Number of hours to report on, including the current one",
    ),
]


@router.get("/{model:path}/monitoring")
def get_monitoring(
    model: str,
    state: AppStateDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
    session: ReadSessionDep,
    hours: Hours = 24,
) -> MonitoringReport:
    """Compare a fine-tuned model's live traffic with the file it was trained on."""
    # The report must include the requests that this process has just served.
    recorder.flush()
    return report.build_report(session, state.catalog, principal.project_id, model, hours=hours)


@router.post("/{model:path}/feedback")
def create_feedback(
    model: str,
    body: CreateFeedback,
    state: AppStateDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
    session: SessionDep,
) -> FeedbackReceipt:
    """Report the true labels of classified texts. All items are stored, or none."""
    recorder.flush()
    changed = feedback.record_feedback(
        session, state.catalog, principal.project_id, model, body.feedback
    )
    recorder.counters.register_model(model)
    return FeedbackReceipt(model=model, received=len(body.feedback), changed=changed)
