"""Deletion of evals and runs: of their content at once, of their rows when they were deleted long
ago."""

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, null, select, update
from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import ENDED_RUN_STATES, Eval, EvalOutputItem, EvalRun, EvalRunState
from app.evals import ending, totals
from app.work import lists

# What is left of a deleted run.
ERASED: dict[str, Any] = {
    "name": "",
    "model": "",
    "file_id": None,
    "data_source": {},
    "bytes": 0,
    "completion_ids": null(),
    "user_metadata": null(),
    "totals": null(),
    "metrics": None,
}


def erase_runs(session: Session, *conditions: ColumnElement[bool]) -> None:
    """Mark runs as deleted, and erase their content but for their items, which the sweep deletes.

    What unfinished ones have used until now is recorded.
    """
    mine = (EvalRun.deleted_at.is_(None), *conditions)
    running = select(EvalRun.id).where(*mine, EvalRun.totals.is_(None)).order_by(EvalRun.id)
    for run_id in session.scalars(running).all():
        _drop_list(session, run_id)
    session.execute(
        update(EvalRun)
        .where(*mine)
        .values(
            deleted_at=func.clock_timestamp(),
            state=case(
                (EvalRun.state.in_(ENDED_RUN_STATES), EvalRun.state), else_=EvalRunState.CANCELED
            ),
            **ERASED,
        )
        .execution_options(synchronize_session=False)
    )


def _drop_list(session: Session, run_id: str) -> None:
    # The list before the run, as the work does. Whoever works on it has lost it.
    if lists.lock(session, run_id) is None:
        return
    run = session.get_one(EvalRun, run_id, with_for_update=True, populate_existing=True)
    ending.record_usage(session, run, totals.sum_ranges(session, [run_id])[run_id])
    lists.delete_list(session, run_id)


def erase_old_runs(session: Session, *, days: float, limit: int) -> int:
    """Erase a batch of runs that ended more than `days` ago; return their number."""
    old = EvalRun.ended_at < clock.subtract_from_now(timedelta(days=days))
    batch = select(EvalRun.id).where(old, EvalRun.deleted_at.is_(None)).limit(limit)
    found = session.scalars(batch.with_for_update(skip_locked=True)).all()
    erase_runs(session, EvalRun.id.in_(found))
    return len(found)


def delete_items(session: Session, *, limit: int) -> int:
    """Delete a batch of the output items of deleted runs; return their number."""
    batch = (
        select(EvalOutputItem.id)
        .join(EvalRun, EvalRun.id == EvalOutputItem.run_id)
        .where(EvalRun.deleted_at.is_not(None))
        .limit(limit)
    )
    rows = delete(EvalOutputItem).where(EvalOutputItem.id.in_(batch)).returning(EvalOutputItem.id)
    return len(session.scalars(rows).all())


def delete_run_rows(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of rows of deleted runs without items; return their number."""
    has_items = select(EvalOutputItem.id).where(EvalOutputItem.run_id == EvalRun.id).exists()
    old = EvalRun.deleted_at < clock.subtract_from_now(timedelta(days=days))
    batch = select(EvalRun.id).where(old, ~has_items).limit(limit)
    locked = batch.with_for_update(skip_locked=True)
    rows = delete(EvalRun).where(EvalRun.id.in_(locked)).returning(EvalRun.id)
    return len(session.scalars(rows).all())


def delete_rows(session: Session, *, days: float, limit: int) -> int:
    """Delete a batch of rows of deleted evals without runs; return their number."""
    has_runs = select(EvalRun.id).where(EvalRun.eval_id == Eval.id).exists()
    old = Eval.deleted_at < clock.subtract_from_now(timedelta(days=days))
    batch = select(Eval.id).where(old, ~has_runs).limit(limit).with_for_update(skip_locked=True)
    rows = delete(Eval).where(Eval.id.in_(batch)).returning(Eval.id)
    return len(session.scalars(rows).all())
