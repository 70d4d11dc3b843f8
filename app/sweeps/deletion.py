"""Deletion of sweeps that ended long ago and none of whose jobs are left."""

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import Sweep, SweepEvent, SweepState, SweepTrial


def delete_sweeps(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of sweeps with their trials and events; return their number."""
    has_job = select(SweepTrial.index).where(
        SweepTrial.sweep_id == Sweep.id, SweepTrial.job_id.is_not(None)
    )
    expired = (
        select(Sweep.id)
        .where(
            Sweep.state != SweepState.RUNNING,
            Sweep.finished_at < clock.subtract_from_now(timedelta(days=days)),
            ~has_job.exists(),
        )
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    sweep_ids = session.scalars(expired).all()
    for part in (SweepEvent, SweepTrial):
        session.execute(delete(part).where(part.sweep_id.in_(sweep_ids)))
    session.execute(delete(Sweep).where(Sweep.id.in_(sweep_ids)))
    return len(sweep_ids)
