"""Validation of new jobs takes turns between projects."""

from sqlalchemy.orm import Session

from app.db import clock, outbox
from app.db.session import SessionMaker, transaction
from app.db.tables import Job, OutboxKind
from app.jobs import lifecycle, validation_queue
from app.jobs.validation_queue import ValidationQueue
from app.operations import outbox_dispatch
from tests.factories import make_job, make_project

ATTACKER_JOBS = 50


def make_waiting_jobs(session: Session, jobs: int) -> list[str]:
    """Make jobs of a new project that wait for their validation."""
    project = make_project(session)
    created_at = clock.now(session)
    return [
        make_job(session, project, state="validating_files", created_at=created_at).id
        for _ in range(jobs)
    ]


class TestA58Validation:
    def test_a_neighbours_job_is_validated_within_one_round(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            make_waiting_jobs(session, ATTACKER_JOBS)
            neighbours = [make_waiting_jobs(session, 1)[0] for _ in range(3)]
        queue, validated = ValidationQueue(), []
        for _ in range(2 * (1 + len(neighbours))):
            with transaction(sessions) as session:
                job_id = queue.lock_next(session)
                assert job_id is not None
                lifecycle.validate(session, job_id)
                validated.append(job_id)
        assert set(neighbours) <= set(validated[: 1 + len(neighbours)])

    def test_all_jobs_are_validated_once(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            expected = make_waiting_jobs(session, 3) + make_waiting_jobs(session, 2)
        queue, validated = ValidationQueue(), []
        while True:
            with transaction(sessions) as session:
                job_id = queue.lock_next(session)
                if job_id is None:
                    break
                lifecycle.validate(session, job_id)
                validated.append(job_id)
        assert sorted(validated) == sorted(expected)

    def test_a_job_that_is_being_validated_is_skipped(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            make_waiting_jobs(session, 2)
        queue = ValidationQueue()
        with sessions() as one, sessions() as other, sessions() as third:
            first, second = queue.lock_next(one), queue.lock_next(other)
            assert None not in (first, second)
            assert first != second
            assert queue.lock_next(third) is None

    def test_lost_notifications_are_made_up_for_in_turns(self, session: Session) -> None:
        make_waiting_jobs(session, ATTACKER_JOBS)
        (neighbour,) = make_waiting_jobs(session, 1)
        session.get_one(Job, neighbour).created_at = clock.seconds_from_now(-5)
        found = validation_queue.find_forgotten(session, older_than_seconds=0, limit=2)
        assert neighbour in found


def test_a58_deleted_objects_do_not_delay_notifications(sessions: SessionMaker) -> None:
    with transaction(sessions) as session:
        for number in range(outbox_dispatch.BATCH_SIZE):
            outbox.enqueue_blob_deletion(session, f"projects/a/files/{number}")
        lifecycle.announce_created(session, make_job(session, state="validating_files"))
    kinds = [kind for _, kind, _ in outbox_dispatch._claim_batch(sessions, may_delete=True)]
    assert OutboxKind.NOTIFY in kinds

    def test_a_claimed_job_is_skipped_until_the_claim_expires(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            (job_id,) = make_waiting_jobs(session, 1)
            validation_queue.claim(session, job_id, seconds=3600)
        queue = ValidationQueue()
        with transaction(sessions) as session:
            assert queue.lock_next(session) is None
            assert not validation_queue.find_forgotten(session, older_than_seconds=-1, limit=9)
            validation_queue.claim(session, job_id, seconds=0)
            session.flush()
            assert list(
                validation_queue.find_forgotten(session, older_than_seconds=-1, limit=9)
            ) == [job_id]
            assert queue.lock_next(session) == job_id

    def test_jobs_of_other_methods_can_come_first(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            make_waiting_jobs(session, 1)
        with transaction(sessions) as session:
            assert ValidationQueue().lock_next(session, except_methods=["supervised"]) is None
