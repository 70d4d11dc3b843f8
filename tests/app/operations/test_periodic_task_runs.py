"""Recorded successes of periodic tasks, and late ones."""

from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.db.session import SessionMaker
from app.db.tables import PeriodicTaskRun
from app.operations import periodic_task_runs


def list_late_tasks(session: Session) -> list[str]:
    return [
        status.name for status in periodic_task_runs.list_task_statuses(session) if status.is_late
    ]


def age_task(session: Session, name: str, seconds: float) -> None:
    older = PeriodicTaskRun.last_succeeded_at - timedelta(seconds=seconds)
    statement = (
        update(PeriodicTaskRun).where(PeriodicTaskRun.name == name).values(last_succeeded_at=older)
    )
    session.execute(statement)


def test_a_task_is_late_after_several_missed_runs(session: Session) -> None:
    periodic_task_runs.record_success(session, {"often": 5, "seldom": 3600})
    for name in ("often", "seldom"):
        age_task(session, name, 120)
    assert list_late_tasks(session) == ["often"]
    periodic_task_runs.record_success(session, {"often": 5})
    assert list_late_tasks(session) == []


def test_failed_work_is_not_recorded(sessions: SessionMaker, session: Session) -> None:
    def fail() -> None:
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        periodic_task_runs.record_on_success(sessions, "broken", 5, fail)()
    periodic_task_runs.record_on_success(sessions, "good", 5, list)()
    assert [
        (s.name, s.interval_seconds) for s in periodic_task_runs.list_task_statuses(session)
    ] == [("good", 5)]
