"""The table of legal moves, and that nothing else changes a job's state."""

import itertools

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db.tables import JOB_STATES, TERMINAL_STATES, Job
from app.jobs import states
from tests.factories import make_job


def test_the_table_speaks_of_every_state() -> None:
    assert set(states.TRANSITIONS) == set(JOB_STATES)
    assert set().union(*states.TRANSITIONS.values()) <= set(JOB_STATES)


def test_terminal_states_lead_nowhere_and_every_other_state_leads_to_one() -> None:
    for state in JOB_STATES:
        assert (states.TRANSITIONS[state] == frozenset()) == (state in TERMINAL_STATES), state
        assert state in TERMINAL_STATES or "cancelled" in states.TRANSITIONS[state], state


@pytest.mark.parametrize(("state", "to"), list(itertools.product(JOB_STATES, JOB_STATES)))
def test_a_job_moves_where_the_table_lets_it(session: Session, state: str, to: str) -> None:
    job = make_job(session, state=state, version=4)
    moved = states.transition(session, job.id, to=to)
    session.expire_all()
    kept = session.get_one(Job, job.id)
    if to in states.TRANSITIONS[state]:
        assert moved is kept
        assert (kept.state, kept.version) == (to, 5)
    else:
        assert moved is None
        assert (kept.state, kept.version) == (state, 4)


@pytest.mark.parametrize("state", states.HELD_STATES)
def test_a_worker_moves_only_the_job_it_holds(session: Session, state: str) -> None:
    job = make_job(session, state=state, epoch=3)
    for epoch in (2, 4):
        assert states.transition(session, job.id, to="failed", by_attempt=epoch) is None
    assert states.transition(session, job.id, to="failed", by_attempt=3) is not None


def test_a_worker_does_not_move_a_job_that_it_gave_back(session: Session) -> None:
    """The epoch rises only with the next claim; until then the state fences."""
    job = make_job(session, state="queued", epoch=3)
    assert states.transition(session, job.id, to="failed", by_attempt=3) is None
    with pytest.raises(states.LeaseLost):
        states.lock_owned(session, job.id, 3)


@pytest.mark.parametrize("state", TERMINAL_STATES)
@pytest.mark.parametrize("change", ["state = 'queued'", "epoch = epoch + 1"])
def test_postgres_itself_refuses_to_revive_a_job(session: Session, state: str, change: str) -> None:
    job = make_job(session, state=state)
    with pytest.raises(IntegrityError, match="cannot become"):
        session.execute(text(f"UPDATE jobs SET {change} WHERE id = :id"), {"id": job.id})


@pytest.mark.parametrize("state", TERMINAL_STATES)
def test_what_is_no_state_may_still_change_on_an_ended_job(session: Session, state: str) -> None:
    job = make_job(session, state=state)
    session.execute(
        text('UPDATE jobs SET user_metadata = \'{"a": "b"}\' WHERE id = :id'), {"id": job.id}
    )
    session.refresh(job)
    assert job.user_metadata == {"a": "b"}
