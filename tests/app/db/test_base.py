"""Enum columns: values of a newer version, which runs beside this one during an upgrade."""

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.db.tables import TERMINAL_STATES, Job, JobState
from app.jobs import serializers, states
from tests.factories import make_job


def test_a_row_with_an_unknown_state_is_read_and_left_alone(session: Session) -> None:
    """A list of jobs with one of them in it must not fail."""
    known, new = make_job(session), make_job(session)
    session.execute(text("ALTER TABLE jobs DROP CONSTRAINT ck_jobs_state"))
    session.execute(text("UPDATE jobs SET state = 'rehearsing' WHERE id = :id"), {"id": new.id})
    session.expire_all()
    jobs = {job.id: job for job in session.scalars(select(Job))}
    assert jobs[known.id].state is JobState.QUEUED
    state = jobs[new.id].state
    assert isinstance(state, JobState)
    assert (state, state.value, repr(state)) == (
        "rehearsing",
        "rehearsing",
        "<JobState.rehearsing: 'rehearsing'>",
    )
    assert state not in (*JobState, *TERMINAL_STATES)
    assert serializers.serialize_job(jobs[new.id], "org").status == "running"
    assert states.transition(session, new.id, to=JobState.CANCELLED) is None
    session.rollback()
