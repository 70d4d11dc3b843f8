"""Which trainers are there, and which of them take no jobs."""

from datetime import timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.db.tables import Worker
from app.operations import trainers


def test_the_last_word_of_each_counts(session: Session) -> None:
    for name, state in (("a", "active"), ("b", "active"), ("b", "unhealthy")):
        trainers.announce(session, name, state=state)
    assert trainers.by_state(session, heartbeat_seconds=10) == {"active": 1, "unhealthy": 1}
    told = trainers.trouble(session, heartbeat_seconds=10)
    assert told is not None
    assert told.startswith("1 of 2 trainers take no jobs for now")
    trainers.announce(session, "b", state="active")
    assert trainers.trouble(session, heartbeat_seconds=10) is None


def test_a_trainer_that_is_silent_is_gone(session: Session) -> None:
    trainers.announce(session, "a", state="unhealthy")
    older = Worker.heartbeat_at - timedelta(seconds=31)
    session.execute(update(Worker).values(heartbeat_at=older))
    assert trainers.trouble(session, heartbeat_seconds=10) is None
    trainers.prune(session)
    assert trainers.by_state(session, heartbeat_seconds=20) == {"unhealthy": 1}
    session.execute(update(Worker).values(heartbeat_at=Worker.heartbeat_at - trainers.KEPT))
    trainers.prune(session)
    assert trainers.by_state(session, heartbeat_seconds=3600) == {}
