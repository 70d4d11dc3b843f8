"""Deletion of sweeps that ended long ago: after their jobs, of which those with a model stay."""

from sqlalchemy import func, select, update

from app.db import clock
from app.db.session import transaction
from app.db.tables import FineTunedModel, Job, Sweep, SweepEvent, SweepTrial
from app.operations import retention
from app.operations.retention import RetentionPolicy
from tests.app.sweeps.desk import Desk, desk, rate

__all__ = ["desk"]


def sweep_old_rows(desk: Desk) -> list[int]:
    """Apply retention 8 days later; return how many rows of sweeps are left."""
    with transaction(desk.sessions) as session:
        long_ago = clock.seconds_from_now(-8 * 86_400)
        session.execute(update(Job).values(finished_at=long_ago))
        session.execute(update(Sweep).values(finished_at=long_ago))
    retention.sweep(desk.sessions, RetentionPolicy(job_days=7, deleted_row_days=0))
    with desk.sessions() as session:
        tables = (Job, Sweep, SweepTrial, SweepEvent)
        return [session.scalars(select(func.count()).select_from(t)).one() for t in tables]


def test_a_sweep_goes_after_its_last_job(desk: Desk) -> None:
    sweep_id = desk.create()
    desk.train(lambda job: None if rate(job) > 1 else rate(job))
    desk.advance(sweep_id)
    jobs, sweeps, trials, _ = sweep_old_rows(desk)
    assert (jobs, sweeps, trials) == (2, 1, 4), "two jobs have a model"
    assert [trial.job_id is None for trial in desk.trials(sweep_id)] == [False, False, True, True]
    with transaction(desk.sessions) as session:
        session.execute(update(FineTunedModel).values(deleted_at=func.now()))
    assert sweep_old_rows(desk) == [0, 0, 0, 0]
