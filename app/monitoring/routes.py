"""/v1/models/{model}/monitoring and /v1/models/{model}/feedback"""

from typing import Annotated

from fastapi import APIRouter, Query

from app.http.dependencies import PartsDep, PrincipalDep, ReadingDep, SessionDep
from app.http.strict_json import StrictRoute
from app.monitoring import feedback, report
from app.monitoring.dependencies import RecorderDep
from app.monitoring.schemas import FeedbackTaken, GiveFeedback, Monitoring
from app.monitoring.traffic import KEPT_HOURS

# Before the routes of models, whose names are paths and would take these for theirs.
router = APIRouter(prefix="/v1/models", tags=["monitoring"], route_class=StrictRoute)

Hours = Annotated[
    int,
    Query(
        ge=1,
        le=KEPT_HOURS.days * 24,
        description="So many hours back, the present one included",
    ),
]


@router.get("/{model:path}/monitoring")
def retrieve(
    model: str,
    parts: PartsDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
    session: ReadingDep,
    hours: Hours = 24,
) -> Monitoring:
    """How a tuned model does in live traffic, beside the file that it was trained on."""
    # So that whoever asks sees what was answered here just before.
    recorder.flush()
    return report.report(session, parts.catalog, principal.project_id, model, hours=hours)


@router.post("/{model:path}/feedback")
def give_feedback(
    model: str,
    asked: GiveFeedback,
    parts: PartsDep,
    recorder: RecorderDep,
    principal: PrincipalDep,
    session: SessionDep,
) -> FeedbackTaken:
    """Tell what the labels of answered texts really are; all of it is taken, or nothing."""
    recorder.flush()
    changed = feedback.give(session, parts.catalog, principal.project_id, model, asked.feedback)
    recorder.totals.know(model)
    return FeedbackTaken(model=model, received=len(asked.feedback), changed=changed)
