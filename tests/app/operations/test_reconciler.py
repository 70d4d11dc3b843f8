"""The reconciler: leader election, recovery tasks, isolation between tasks."""

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from app.db import clock
from app.db.session import SessionMaker, create_database_engine, session_maker, transaction
from app.db.tables import Job, JobState, Outbox, OutboxKind
from app.jobs import leases, lifecycle, validation_errors
from app.operations import periodic_task_runs, reconciler
from app.operations.leader_election import LEADER_LOCK_ID, acquire_leader_lock
from app.operations.reconciler import (
    PeriodicTask,
    Reconciler,
    build_per_job_task,
)
from tests.factories import make_file, make_job, make_project

IDLE_TRANSACTIONS = "SELECT query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
# With a timeout the call waits until the backend has ended.
TERMINATE_LEADER = "SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE objid = :lock"


def validate(sessions: SessionMaker) -> None:
    build_per_job_task(
        reconciler.find_unvalidated, lifecycle.validate, on_error=validation_errors.record
    )(sessions)


def make_expired_job(sessions: SessionMaker) -> str:
    """Create a running job whose lease has expired; return its id."""
    with transaction(sessions) as session:
        job_id = make_job(session).id
        leases.acquire(session, "w", lease_seconds=-1)
    return job_id


def get_state(sessions: SessionMaker, job_id: str) -> str:
    with transaction(sessions) as session:
        return session.get_one(Job, job_id).state


class TestReconciler:
    def test_a_run_does_all_due_tasks(self, sessions: SessionMaker) -> None:
        job_id = make_expired_job(sessions)
        reconciler = Reconciler(sessions, grace_period_seconds=0)
        assert reconciler.run()
        assert get_state(sessions, job_id) == "queued"
        with transaction(sessions) as session:
            recorded = {status.name for status in periodic_task_runs.list_task_statuses(session)}
        assert recorded == {task.name for task in reconciler.tasks}

    def test_only_the_leader_works(self, sessions: SessionMaker) -> None:
        job_id = make_expired_job(sessions)
        with acquire_leader_lock(sessions) as leader:
            assert leader is not None
            assert not Reconciler(sessions, grace_period_seconds=0).run()
            assert get_state(sessions, job_id) == "running"
        assert Reconciler(sessions, grace_period_seconds=0).run()
        assert get_state(sessions, job_id) == "queued"

    def test_no_transaction_idles_while_tasks_run(self, sessions: SessionMaker) -> None:
        def inspect(_: SessionMaker) -> None:
            with transaction(sessions) as session:
                idle_transactions.extend(session.execute(text(IDLE_TRANSACTIONS)).all())

        idle_transactions: list[object] = []
        leader = Reconciler(sessions, grace_period_seconds=0)
        leader.tasks = [PeriodicTask("inspect", 5, inspect)]
        assert leader.run()
        assert idle_transactions == []

    def test_a_leader_that_lost_its_lock_stops(self, sessions: SessionMaker) -> None:
        def lose_lock(_: SessionMaker) -> None:
            with transaction(sessions) as session:
                session.execute(text(TERMINATE_LEADER), {"lock": LEADER_LOCK_ID})

        job_id = make_expired_job(sessions)
        frozen = Reconciler(sessions, grace_period_seconds=0)
        frozen.tasks.insert(0, PeriodicTask("lose_lock", 5, lose_lock))
        assert not frozen.run()
        assert get_state(sessions, job_id) == "running"
        assert Reconciler(sessions, grace_period_seconds=0).run()
        assert get_state(sessions, job_id) == "queued"

    def test_the_lock_is_free_right_after_a_run(self, sessions: SessionMaker) -> None:
        for _ in range(50):
            with acquire_leader_lock(sessions) as leader:
                assert leader is not None
            with transaction(sessions) as session:
                assert session.scalar(select(func.pg_try_advisory_xact_lock(LEADER_LOCK_ID)))

    def test_no_lease_expires_in_the_grace_period_after_the_start(
        self, sessions: SessionMaker
    ) -> None:
        job_id = make_expired_job(sessions)
        assert Reconciler(sessions, grace_period_seconds=3600).run()
        assert get_state(sessions, job_id) == "running"

    def test_no_lease_expires_in_the_grace_period_after_an_outage(
        self, sessions: SessionMaker
    ) -> None:
        job_id = make_expired_job(sessions)
        recovered = Reconciler(sessions, grace_period_seconds=3600)
        for task in recovered.tasks:
            task.due_at = 0
        disconnected = Reconciler(create_unreachable_sessions(), grace_period_seconds=3600)
        disconnected.tasks = recovered.tasks
        assert not disconnected.run()
        assert recovered.run()
        assert get_state(sessions, job_id) == "running"

    def test_a_failing_task_does_not_stop_the_others(self, sessions: SessionMaker) -> None:
        def fail(_: SessionMaker) -> None:
            raise ValueError("a mistake")

        job_id = make_expired_job(sessions)
        reconciler = Reconciler(sessions, grace_period_seconds=0)
        reconciler.tasks.insert(0, PeriodicTask("broken", 5, fail))
        assert reconciler.run()
        with transaction(sessions) as session:
            assert "broken" not in {
                status.name for status in periodic_task_runs.list_task_statuses(session)
            }
        assert get_state(sessions, job_id) == "queued"

    def test_a_task_is_not_due_right_after_its_run(self, sessions: SessionMaker) -> None:
        reconciler = Reconciler(sessions, grace_period_seconds=0)
        reconciler.run()
        job_id = make_expired_job(sessions)
        reconciler.run()
        assert get_state(sessions, job_id) == "running"


def create_unreachable_sessions() -> SessionMaker:
    return session_maker(create_database_engine("postgresql://127.0.0.1:1/none"))


def build_past_time(session: Session, seconds: float) -> object:
    return session.scalars(select(clock.seconds_from_now(-seconds))).one()


def make_unvalidated(session: Session, *, ago_seconds: float = 200, **changes: object) -> str:
    """Create a job that has been waiting for validation; return its id."""
    created = build_past_time(session, ago_seconds)
    return make_job(session, state=JobState.VALIDATING_FILES, created_at=created, **changes).id


class TestTasks:
    def test_a_job_whose_notification_was_lost_is_validated(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            unvalidated = make_unvalidated(session)
            new = make_job(session, state=JobState.VALIDATING_FILES).id
        validate(sessions)
        assert get_state(sessions, unvalidated) == "queued"
        assert get_state(sessions, new) == "validating_files"

    def test_a_job_whose_validation_fails_does_not_stop_the_others(
        self, sessions: SessionMaker
    ) -> None:
        with transaction(sessions) as session:
            project = make_project(session)
            # A summary that no upload can produce.
            unreadable = make_file(session, project, summary={"notes": 5})
            before, after = make_unvalidated(session), make_unvalidated(session, ago_seconds=300)
            broken = make_unvalidated(session, ago_seconds=250, training_file_id=unreadable.id)
        validate(sessions)
        assert get_state(sessions, broken) == "validating_files"
        assert [get_state(sessions, job_id) for job_id in (before, after)] == ["queued", "queued"]

    def test_a_job_whose_validation_always_fails_ends(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            project = make_project(session)
            unreadable = make_file(session, project, summary={"notes": 5})
            broken = make_unvalidated(session, training_file_id=unreadable.id)
        for _ in range(validation_errors.MAX_TRIES):
            assert get_state(sessions, broken) == "validating_files"
            validate(sessions)
            # The next try waits.
            validate(sessions)
            with transaction(sessions) as session:
                session.execute(update(Job).values(run_after=Job.created_at))
        with transaction(sessions) as session:
            job = session.get_one(Job, broken)
        assert (job.state, job.error_code) == ("failed", "validation_failed")
        assert "5 tries ended with an internal error of the service" in (job.error_message or "")

    def test_chat_jobs_are_left_to_those_who_check_their_rows(self, session: Session) -> None:
        """An engine renders the rows, which takes seconds on a busy machine."""
        encoder = make_unvalidated(session, ago_seconds=10, method="classification")
        make_unvalidated(session, ago_seconds=10)
        forgotten = make_unvalidated(session, ago_seconds=200, method="dpo")
        assert sorted(reconciler.find_unvalidated(session)) == sorted([encoder, forgotten])

    def test_renotify_notifies_of_the_oldest_queued_job(self, session: Session) -> None:
        make_job(session, run_after=build_past_time(session, 60))
        oldest = make_job(session, run_after=build_past_time(session, 90))
        reconciler.renotify(session)
        payload = session.scalars(select(Outbox.payload)).one()
        assert payload == {"task": "train", "job_id": oldest.id}

    @pytest.mark.parametrize("seconds", [-600, 5])
    def test_renotify_skips_delayed_and_new_jobs(self, session: Session, seconds: float) -> None:
        make_job(session, run_after=build_past_time(session, seconds))
        reconciler.renotify(session)
        assert session.scalars(select(Outbox)).all() == []

    def test_expired_files_are_deleted(self, session: Session) -> None:
        project = make_project(session)
        expired = make_file(session, project, expires_at=build_past_time(session, 1))
        others = [
            make_file(session, project, expires_at=build_past_time(session, -60)),
            make_file(session, project),
        ]
        reconciler.expire_files(session)
        reconciler.expire_files(session)
        session.expire_all()
        assert expired.deleted_at is not None
        assert [file.deleted_at for file in others] == [None, None]
        assert session.scalars(select(Outbox.payload)).one() == {"keys": [expired.storage_key]}

    @pytest.mark.parametrize("column", ["training_file", "validation_file", "test_file"])
    def test_an_expired_file_is_kept_until_its_job_has_ended(
        self, session: Session, column: str
    ) -> None:
        expired, unused = (
            make_file(session, make_project(session), expires_at=build_past_time(session, 1))
            for _ in range(2)
        )
        job = make_job(session, **{f"{column}_id": expired.id})
        for state in (JobState.VALIDATING_FILES, JobState.RUNNING, JobState.PAUSED):
            job.state = state
            session.flush()
            reconciler.expire_files(session)
            session.refresh(expired)
            assert expired.deleted_at is None, state
        session.refresh(unused)
        assert unused.deleted_at is not None
        job.state = JobState.FAILED
        session.flush()
        reconciler.expire_files(session)
        session.refresh(expired)
        assert expired.deleted_at is not None

    def test_pruning_keeps_new_rows_and_pending_deletions(self, session: Session) -> None:
        old, new = build_past_time(session, 7200), build_past_time(session, 60)
        minutes = build_past_time(session, 600)
        kinds = [
            (OutboxKind.NOTIFY, minutes, None),
            (OutboxKind.NOTIFY, minutes, minutes),
            (OutboxKind.NOTIFY, old, old),
            (OutboxKind.NOTIFY, old, None),
            (OutboxKind.NOTIFY, new, None),
            (OutboxKind.NOTIFY, new, new),
        ]
        kinds += [(OutboxKind.DELETE_BLOBS, old, old), (OutboxKind.DELETE_BLOBS, old, None)]
        for kind, created, done in kinds:
            session.add(Outbox(kind=kind, payload={}, created_at=created, done_at=done))
        session.flush()
        reconciler.prune_outbox(session)
        rows = session.execute(
            select(Outbox.kind, Outbox.created_at, Outbox.done_at).order_by(Outbox.id)
        )
        assert [tuple(row) for row in rows] == [kinds[0], kinds[4], kinds[5], kinds[7]]
