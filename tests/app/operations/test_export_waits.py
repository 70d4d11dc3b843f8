"""What is said of an export that no trainer has begun with."""

from datetime import timedelta

from sqlalchemy.orm import Session

from app.db import clock
from app.db.tables import ModelExport, TrainerProcess, TrainerState
from app.exports import conversions
from app.jobs import trainers
from app.operations.export_waits import describe_wait
from tests.app.exports.rows import add_export
from tests.factories import make_project


def describe(session: Session, export: ModelExport) -> str:
    return describe_wait(session, export, heartbeat_seconds=5)


def test_it_says_what_an_export_waits_for(session: Session) -> None:
    one, other = make_project(session), make_project(session)
    first, second, third = (
        add_export(session, project, f"ft:base:acme::{tag}")
        for project, tag in ((one, "Aaaaaaa1"), (one, "Aaaaaaa2"), (other, "Bbbbbbb1"))
    )
    assert "No trainer is running" in describe(session, first)
    trainers.record_heartbeat(session, "trainer", state=TrainerState.ACTIVE)
    session.flush()
    assert conversions.claim(session) is not None
    session.refresh(first)
    assert describe(session, first) == "", "it is being made"
    assert "another export of its project" in describe(session, second)
    assert "all are busy" in describe(session, third)
    session.get_one(TrainerProcess, "trainer").heartbeat_at = clock.now(session) - timedelta(days=1)
    session.flush()
    assert "No trainer is running" in describe(session, third)
