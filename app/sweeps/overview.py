"""Overview of all projects' sweeps for operators."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import Sweep, SweepState
from app.sweeps.lifecycle import build_sweep_not_found


def list_sweeps(
    session: Session, *, project_id: str | None, only_running: bool, limit: int
) -> Sequence[Sweep]:
    """List the newest sweeps of all projects, or of one."""
    statement = select(Sweep).order_by(Sweep.created_at.desc(), Sweep.id.desc()).limit(limit)
    if project_id is not None:
        statement = statement.where(Sweep.project_id == project_id)
    if only_running:
        statement = statement.where(Sweep.state == SweepState.RUNNING)
    return session.scalars(statement).all()


def get(session: Session, sweep_id: str) -> Sweep:
    """Get a sweep of any project. Raises NotFound."""
    sweep = session.get(Sweep, sweep_id)
    if sweep is None:
        raise build_sweep_not_found(sweep_id)
    return sweep
