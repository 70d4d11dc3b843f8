"""What was lost is found again, by one of many, and none of its duties stops the others."""

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.db import clock
from app.db.session import SessionMaker, create_database_engine, session_maker, transaction
from app.db.tables import Job, Outbox
from app.jobs import leases, lifecycle
from app.operations import periodic_tasks, reconciler
from app.operations.reconciler import (
    LEADER_LOCK_ID,
    PeriodicTask,
    Reconciler,
    each_in_own_transaction,
    leader_lock,
)
from tests.factories import make_file, make_job, make_project

IDLE = "SELECT query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
# Ended, not just told to end: waited for.
END_LEADER = "SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE objid = :lock"


def validate(sessions: SessionMaker) -> None:
    each_in_own_transaction(reconciler.find_unvalidated, lifecycle.validate)(sessions)


def lost_job(sessions: SessionMaker) -> str:
    """A job whose worker's lease has run out."""
    with transaction(sessions) as session:
        job_id = make_job(session).id
        leases.acquire(session, "w", lease_seconds=-1)
    return job_id


def state(sessions: SessionMaker, job_id: str) -> str:
    with transaction(sessions) as session:
        return session.get_one(Job, job_id).state


class TestReconciler:
    def test_a_round_does_all_that_is_due(self, sessions: SessionMaker) -> None:
        job_id = lost_job(sessions)
        reconciler = Reconciler(sessions, grace_period_seconds=0)
        assert reconciler.run()
        assert state(sessions, job_id) == "queued"
        with transaction(sessions) as session:
            noted = {standing.name for standing in periodic_tasks.task_statuses(session)}
        assert noted == {duty.name for duty in reconciler.tasks}

    def test_one_leads_and_the_others_wait(self, sessions: SessionMaker) -> None:
        job_id = lost_job(sessions)
        with leader_lock(sessions) as leader:
            assert leader is not None
            assert not Reconciler(sessions, grace_period_seconds=0).run()
            assert state(sessions, job_id) == "running"
        assert Reconciler(sessions, grace_period_seconds=0).run()
        assert state(sessions, job_id) == "queued"

    def test_while_duties_run_no_transaction_idles(self, sessions: SessionMaker) -> None:
        def look(_: SessionMaker) -> None:
            with transaction(sessions) as session:
                told.extend(session.execute(text(IDLE)).all())

        told: list[object] = []
        leader = Reconciler(sessions, grace_period_seconds=0)
        leader.tasks = [PeriodicTask("look", 5, look)]
        assert leader.run()
        assert told == []

    def test_who_has_lost_its_lock_leaves_the_duties_to_another(
        self, sessions: SessionMaker
    ) -> None:
        def lose(_: SessionMaker) -> None:
            with transaction(sessions) as session:
                session.execute(text(END_LEADER), {"lock": LEADER_LOCK_ID})

        job_id = lost_job(sessions)
        frozen = Reconciler(sessions, grace_period_seconds=0)
        frozen.tasks.insert(0, PeriodicTask("lose", 5, lose))
        assert not frozen.run()
        assert state(sessions, job_id) == "running"
        assert Reconciler(sessions, grace_period_seconds=0).run()
        assert state(sessions, job_id) == "queued"

    def test_after_a_round_anybody_can_lead_at_once(self, sessions: SessionMaker) -> None:
        for _ in range(50):
            with leader_lock(sessions) as leader:
                assert leader is not None
            with transaction(sessions) as session:
                assert session.scalar(select(func.pg_try_advisory_xact_lock(LEADER_LOCK_ID)))

    def test_after_its_start_workers_get_time_to_renew_their_leases(
        self, sessions: SessionMaker
    ) -> None:
        job_id = lost_job(sessions)
        assert Reconciler(sessions, grace_period_seconds=3600).run()
        assert state(sessions, job_id) == "running"

    def test_after_the_database_was_away_too(self, sessions: SessionMaker) -> None:
        job_id = lost_job(sessions)
        patient = Reconciler(sessions, grace_period_seconds=3600)
        for duty in patient.tasks:
            duty.due_at = 0
        away = Reconciler(nowhere(), grace_period_seconds=3600)
        away.tasks = patient.tasks
        assert not away.run()
        assert patient.run()
        assert state(sessions, job_id) == "running"

    def test_a_broken_duty_does_not_stop_the_others(self, sessions: SessionMaker) -> None:
        def broken(_: SessionMaker) -> None:
            raise ValueError("a mistake")

        job_id = lost_job(sessions)
        reconciler = Reconciler(sessions, grace_period_seconds=0)
        reconciler.tasks.insert(0, PeriodicTask("broken", 5, broken))
        assert reconciler.run()
        with transaction(sessions) as session:
            assert "broken" not in {
                standing.name for standing in periodic_tasks.task_statuses(session)
            }
        assert state(sessions, job_id) == "queued"

    def test_what_was_just_done_is_not_due(self, sessions: SessionMaker) -> None:
        reconciler = Reconciler(sessions, grace_period_seconds=0)
        reconciler.run()
        job_id = lost_job(sessions)
        reconciler.run()
        assert state(sessions, job_id) == "running"


def nowhere() -> SessionMaker:
    return session_maker(create_database_engine("postgresql://127.0.0.1:1/none"))


def ago(session: Session, seconds: float) -> object:
    return session.scalars(select(clock.seconds_from_now(-seconds))).one()


def make_unheard(session: Session, *, ago_seconds: float = 10, **changes: object) -> str:
    """A job that waits to be validated, made so long ago; its id."""
    created = ago(session, ago_seconds)
    return make_job(session, state="validating_files", created_at=created, **changes).id


class TestDuties:
    def test_a_new_job_that_nobody_validated_is_validated(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            forgotten = make_unheard(session)
            new = make_job(session, state="validating_files").id
        validate(sessions)
        assert state(sessions, forgotten) == "queued"
        assert state(sessions, new) == "validating_files"

    def test_one_that_cannot_be_validated_does_not_stop_the_others(
        self, sessions: SessionMaker
    ) -> None:
        with transaction(sessions) as session:
            project = make_project(session)
            # No upload writes such a summary.
            unreadable = make_file(session, project, summary={"notes": 5})
            before, after = make_unheard(session), make_unheard(session, ago_seconds=30)
            broken = make_unheard(session, ago_seconds=20, training_file_id=unreadable.id)
        validate(sessions)
        assert state(sessions, broken) == "validating_files"
        assert [state(sessions, job_id) for job_id in (before, after)] == ["queued", "queued"]

    def test_the_longest_waiting_job_is_rung_for(self, session: Session) -> None:
        make_job(session, run_after=ago(session, 60))
        longest = make_job(session, run_after=ago(session, 90))
        reconciler.renotify(session)
        payload = session.scalars(select(Outbox.payload)).one()
        assert payload == {"task": "train", "job_id": longest.id}

    @pytest.mark.parametrize("seconds", [-600, 5])
    def test_a_job_that_waits_or_has_just_come_is_not(
        self, session: Session, seconds: float
    ) -> None:
        make_job(session, run_after=ago(session, seconds))
        reconciler.renotify(session)
        assert session.scalars(select(Outbox)).all() == []

    def test_files_whose_time_has_come_are_deleted(self, session: Session) -> None:
        project = make_project(session)
        expired = make_file(session, project, expires_at=ago(session, 1))
        others = [
            make_file(session, project, expires_at=ago(session, -60)),
            make_file(session, project),
        ]
        reconciler.expire_files(session)
        reconciler.expire_files(session)
        session.expire_all()
        assert expired.deleted_at is not None
        assert [file.deleted_at for file in others] == [None, None]
        assert session.scalars(select(Outbox.payload)).one() == {"keys": [expired.storage_key]}

    def test_the_outbox_keeps_what_is_new_and_what_still_has_to_be_done(
        self, session: Session
    ) -> None:
        old, new = ago(session, 7200), ago(session, 60)
        kinds = [("bell", old, old), ("bell", old, None), ("bell", new, None), ("bell", new, new)]
        kinds += [("delete_blobs", old, old), ("delete_blobs", old, None)]
        for kind, created, done in kinds:
            session.add(Outbox(kind=kind, payload={}, created_at=created, done_at=done))
        session.flush()
        reconciler.prune_outbox(session)
        rows = session.execute(
            select(Outbox.kind, Outbox.created_at, Outbox.done_at).order_by(Outbox.id)
        )
        assert [tuple(row) for row in rows] == [kinds[2], kinds[3], kinds[5]]
