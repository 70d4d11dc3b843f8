"""Reasons for which an export waits: another export, a free trainer, or any trainer at all."""

from sqlalchemy.orm import Session

from app.db.tables import ExportState, ModelExport
from app.exports import conversions
from app.jobs import trainers


def describe_wait(session: Session, export: ModelExport, *, heartbeat_seconds: float) -> str:
    """Say why no trainer has begun with an export; empty if one has."""
    if export.state != ExportState.QUEUED:
        return ""
    if conversions.has_running(session, export.project_id):
        return "It waits for another export of its project, which has one at a time."
    if trainers.count_by_state(session, heartbeat_seconds=heartbeat_seconds).total():
        return "It waits for a trainer: all are busy with other exports."
    return "No trainer is running; trainers run with `luthier up`."
