"""Live and unhealthy trainers."""

from datetime import timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.db.tables import TrainerProcess, TrainerState
from app.jobs import trainers

ACTIVE, UNHEALTHY = TrainerState.ACTIVE, TrainerState.UNHEALTHY


def test_the_latest_heartbeat_of_each_trainer_counts(session: Session) -> None:
    for name, state in (("a", ACTIVE), ("b", ACTIVE), ("b", UNHEALTHY)):
        trainers.record_heartbeat(session, name, state=state)
    assert trainers.count_by_state(session, heartbeat_seconds=10) == {"active": 1, "unhealthy": 1}
    problem = trainers.find_health_problem(session, heartbeat_seconds=10)
    assert problem is not None
    assert problem.startswith("1 of 2 trainers have stopped taking jobs for now")
    trainers.record_heartbeat(session, "b", state=ACTIVE)
    assert trainers.find_health_problem(session, heartbeat_seconds=10) is None


def test_a_trainer_without_heartbeats_counts_as_dead(session: Session) -> None:
    trainers.record_heartbeat(session, "a", state=UNHEALTHY)
    older = TrainerProcess.heartbeat_at - timedelta(seconds=31)
    session.execute(update(TrainerProcess).values(heartbeat_at=older))
    assert trainers.find_health_problem(session, heartbeat_seconds=10) is None
    trainers.prune(session)
    assert trainers.count_by_state(session, heartbeat_seconds=20) == {"unhealthy": 1}
    session.execute(
        update(TrainerProcess).values(heartbeat_at=TrainerProcess.heartbeat_at - trainers.RETENTION)
    )
    trainers.prune(session)
    assert trainers.count_by_state(session, heartbeat_seconds=3600) == {}
