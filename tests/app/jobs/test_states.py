"""The table of legal moves, and that nothing else changes a job's state."""

import itertools

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db.tables import STATES, TERMINAL, Job
from app.jobs import states
from tests.factories import make_job


def test_the_table_speaks_of_every_state() -> None:
    assert set(states.MOVES) == set(STATES)
    assert set().union(*states.MOVES.values()) <= set(STATES)


def test_terminal_states_lead_nowhere_and_every_other_state_leads_to_one() -> None:
    for state in STATES:
        assert (states.MOVES[state] == frozenset()) == (state in TERMINAL), state
        assert state in TERMINAL or "cancelled" in states.MOVES[state], state


@pytest.mark.parametrize(("state", "to"), list(itertools.product(STATES, STATES)))
def test_a_job_moves_where_the_table_lets_it(session: Session, state: str, to: str) -> None:
    job = make_job(session, state=state, version=4)
    moved = states.move(session, job.id, to=to)
    session.expire_all()
    kept = session.get_one(Job, job.id)
    if to in states.MOVES[state]:
        assert moved is kept
        assert (kept.state, kept.version) == (to, 5)
    else:
        assert moved is None
        assert (kept.state, kept.version) == (state, 4)


@pytest.mark.parametrize("state", states.ACTIVE)
def test_a_worker_moves_only_the_job_it_holds(session: Session, state: str) -> None:
    job = make_job(session, state=state, epoch=3)
    for epoch in (2, 4):
        assert states.move(session, job.id, to="failed", held_at=epoch) is None
    assert states.move(session, job.id, to="failed", held_at=3) is not None


def test_a_worker_does_not_move_a_job_that_it_gave_back(session: Session) -> None:
    """The epoch rises only with the next claim; until then the state fences."""
    job = make_job(session, state="queued", epoch=3)
    assert states.move(session, job.id, to="failed", held_at=3) is None
    with pytest.raises(states.Fenced):
        states.guard(session, job.id, 3)


@pytest.mark.parametrize("state", TERMINAL)
@pytest.mark.parametrize("change", ["state = 'queued'", "epoch = epoch + 1"])
def test_postgres_itself_refuses_to_revive_a_job(session: Session, state: str, change: str) -> None:
    job = make_job(session, state=state)
    with pytest.raises(IntegrityError, match="cannot become"):
        session.execute(text(f"UPDATE jobs SET {change} WHERE id = :id"), {"id": job.id})


@pytest.mark.parametrize("state", TERMINAL)
def test_what_is_no_state_may_still_change_on_an_ended_job(session: Session, state: str) -> None:
    job = make_job(session, state=state)
    session.execute(
        text('UPDATE jobs SET user_metadata = \'{"a": "b"}\' WHERE id = :id'), {"id": job.id}
    )
    session.refresh(job)
    assert job.user_metadata == {"a": "b"}
