"""State machine of a job: the legal transitions, and that no others are possible."""

import itertools

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db.tables import TERMINAL_STATES, Job, JobState
from app.jobs import states
from tests.factories import make_job


def test_every_state_has_transitions() -> None:
    assert set(states.TRANSITIONS) == set(JobState)
    assert set().union(*states.TRANSITIONS.values()) <= set(JobState)


def test_terminal_states_have_no_transitions_and_all_others_can_be_cancelled() -> None:
    for state in JobState:
        assert (states.TRANSITIONS[state] == frozenset()) == (state in TERMINAL_STATES), state
        assert state in TERMINAL_STATES or JobState.CANCELLED in states.TRANSITIONS[state], state


@pytest.mark.parametrize(("state", "to"), list(itertools.product(JobState, JobState)))
def test_only_listed_transitions_are_possible(
    session: Session, state: JobState, to: JobState
) -> None:
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
def test_a_trainer_can_only_change_the_job_it_owns(session: Session, state: JobState) -> None:
    job = make_job(session, state=state, attempt=3)
    for attempt in (2, 4):
        assert states.transition(session, job.id, to=JobState.FAILED, by_attempt=attempt) is None
    assert states.transition(session, job.id, to=JobState.FAILED, by_attempt=3) is not None


def test_a_trainer_cannot_change_a_job_that_it_has_yielded(session: Session) -> None:
    """The attempt number increases only with the next acquisition; the state rejects the write."""
    job = make_job(session, state=JobState.QUEUED, attempt=3)
    assert states.transition(session, job.id, to=JobState.FAILED, by_attempt=3) is None
    with pytest.raises(states.LeaseLost):
        states.lock_for_attempt(session, job.id, 3)


@pytest.mark.parametrize("state", TERMINAL_STATES)
@pytest.mark.parametrize("change", ["state = 'queued'", "attempt = attempt + 1"])
def test_a_trigger_keeps_terminal_states_final(
    session: Session, state: JobState, change: str
) -> None:
    job = make_job(session, state=state)
    with pytest.raises(IntegrityError, match="cannot become"):
        session.execute(text(f"UPDATE jobs SET {change} WHERE id = :id"), {"id": job.id})


@pytest.mark.parametrize("state", TERMINAL_STATES)
def test_other_columns_of_a_terminal_job_can_change(session: Session, state: JobState) -> None:
    job = make_job(session, state=state)
    session.execute(
        text('UPDATE jobs SET user_metadata = \'{"a": "b"}\' WHERE id = :id'), {"id": job.id}
    )
    session.refresh(job)
    assert job.user_metadata == {"a": "b"}
