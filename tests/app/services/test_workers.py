"""Which trainers are there, and which of them take no jobs."""

from datetime import timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.db.models import Worker
from app.services import workers


def test_the_last_word_of_each_counts(session: Session) -> None:
    for name, state in (("a", "active"), ("b", "active"), ("b", "unhealthy")):
        workers.announce(session, name, state=state)
    assert workers.by_state(session, heartbeat_seconds=10) == {"active": 1, "unhealthy": 1}
    told = workers.trouble(session, heartbeat_seconds=10)
    assert told is not None
    assert told.startswith("1 of 2 trainers take no jobs for now")
    workers.announce(session, "b", state="active")
    assert workers.trouble(session, heartbeat_seconds=10) is None


def test_a_trainer_that_is_silent_is_gone(session: Session) -> None:
    workers.announce(session, "a", state="unhealthy")
    older = Worker.heartbeat_at - timedelta(seconds=31)
    session.execute(update(Worker).values(heartbeat_at=older))
    assert workers.trouble(session, heartbeat_seconds=10) is None
    workers.prune(session)
    assert workers.by_state(session, heartbeat_seconds=20) == {"unhealthy": 1}
    session.execute(update(Worker).values(heartbeat_at=Worker.heartbeat_at - workers.KEPT))
    workers.prune(session)
    assert workers.by_state(session, heartbeat_seconds=3600) == {}
