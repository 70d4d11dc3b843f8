"""Which trainers are there, and which of them take no jobs."""

from datetime import timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.db.tables import TrainerProcess
from app.operations import trainers


def test_the_last_word_of_each_counts(session: Session) -> None:
    for name, state in (("a", "active"), ("b", "active"), ("b", "unhealthy")):
        trainers.heartbeat(session, name, state=state)
    assert trainers.count_by_state(session, heartbeat_seconds=10) == {"active": 1, "unhealthy": 1}
    told = trainers.health_problem(session, heartbeat_seconds=10)
    assert told is not None
    assert told.startswith("1 of 2 trainers take no jobs for now")
    trainers.heartbeat(session, "b", state="active")
    assert trainers.health_problem(session, heartbeat_seconds=10) is None


def test_a_trainer_that_is_silent_is_gone(session: Session) -> None:
    trainers.heartbeat(session, "a", state="unhealthy")
    older = TrainerProcess.heartbeat_at - timedelta(seconds=31)
    session.execute(update(TrainerProcess).values(heartbeat_at=older))
    assert trainers.health_problem(session, heartbeat_seconds=10) is None
    trainers.prune(session)
    assert trainers.count_by_state(session, heartbeat_seconds=20) == {"unhealthy": 1}
    session.execute(
        update(TrainerProcess).values(heartbeat_at=TrainerProcess.heartbeat_at - trainers.RETENTION)
    )
    trainers.prune(session)
    assert trainers.count_by_state(session, heartbeat_seconds=3600) == {}
