"""Routes of /v1/models/{model}/monitoring and /v1/models/{model}/feedback."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.http.dependencies import AppStateDep, PrincipalDep, ReadSessionDep, SessionDep
from app.http.strict_json import StrictRoute
from app.models import registry
from app.monitoring import feedback, report
from app.monitoring.dependencies import RecorderDep
from app.monitoring.schemas import CreateFeedback, FeedbackReceipt, MonitoringReport
from app.monitoring.traffic import HOURLY_COUNTS_RETENTION
from app.stored_completions import feedback as answer_feedback
from app.stored_completions.dependencies import CompletionRecorderDep

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
    project_id = principal.project_id
    name = registry.find_stored_name(session, state.catalog, project_id, model)
    return report.build_report(session, state.catalog, project_id, name, hours=hours)


@router.post("/{model:path}/feedback")
def create_feedback(
    model: str,
    body: CreateFeedback,
    state: AppStateDep,
    recorder: RecorderDep,
    completions: CompletionRecorderDep,
    principal: PrincipalDep,
    session: SessionDep,
) -> FeedbackReceipt:
    """Report the true labels of classified texts, or rate and correct stored chat completions.

    All items are stored, or none. Ratings and corrections become rows of training files.
    """
    project_id = principal.project_id
    name = registry.find_stored_name(session, state.catalog, project_id, model)
    if body.feedback[0].is_of_answer:
        completions.flush()
        changed = answer_feedback.record(
            session,
            state.settings,
            project_id,
            name,
            [item.to_answer_feedback() for item in body.feedback],
        )
        return FeedbackReceipt(model=model, received=len(body.feedback), changed=changed)
    recorder.flush()
    changed = feedback.record_feedback(session, state.catalog, project_id, name, body.feedback)
    recorder.counters.register_model(name)
    return FeedbackReceipt(model=model, received=len(body.feedback), changed=changed)
