"""Events are numbered without gaps and deduplicated, also with concurrent writers."""

import threading

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.session import SessionMaker, transaction
from app.db.tables import JobEvent
from app.jobs import events, states
from app.jobs.events import NewEvent
from tests.factories import make_job


def test_an_event_is_appended_once_per_key(session: Session) -> None:
    job = make_job(session)
    events.append(session, job, [NewEvent("a", "First")])
    events.append(session, job, [NewEvent("a", "Again"), NewEvent("b", "Second")])
    rows = session.scalars(select(JobEvent).order_by(JobEvent.seq)).all()
    assert [(row.seq, row.message) for row in rows] == [(1, "First"), (2, "Second")]


def test_data_defaults_to_an_empty_object(session: Session) -> None:
    job = make_job(session)
    events.append(session, job, [NewEvent("a", "First"), NewEvent("b", "Second", data=None)])
    rows = session.scalars(select(JobEvent).order_by(JobEvent.seq)).all()
    assert [row.data for row in rows] == [{}, None]


def test_concurrent_writers_leave_no_gaps_and_no_duplicates(sessions: SessionMaker) -> None:
    with transaction(sessions) as session:
        job_id = make_job(session, state="running", attempt=1).id
    start = threading.Barrier(5)

    def write(name: str) -> None:
        start.wait()
        for number in range(10):
            with transaction(sessions) as session:
                job = states.lock_for_attempt(session, job_id, 1)
                new_events = [
                    NewEvent(f"{name}:{number}", name),
                    NewEvent(f"shared:{number}", "shared"),
                ]
                events.append(session, job, new_events)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcde"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with transaction(sessions) as session:
        seqs = list(session.scalars(select(JobEvent.seq).order_by(JobEvent.seq)))
    assert seqs == list(range(1, 5 * 10 + 10 + 1))
