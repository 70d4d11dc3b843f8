"""A job's life as its owner causes and sees it."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import File, JobAttempt, JobEvent, JobLease, Outbox
from app.errors import InvalidRequest, NotFound
from app.jobs import attempts, checkpoints, leases, lifecycle, states
from app.jobs.file_checks import JobFailure
from app.jobs.leases import WorkerDirective
from tests.factories import make_file, make_job, make_project


def told(session: Session, job_id: str) -> list[str]:
    rows = select(JobEvent.message).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
    return list(session.scalars(rows))


def bells(session: Session) -> list[tuple[str, str]]:
    rows = session.scalars(select(Outbox.payload).where(Outbox.kind == "bell").order_by(Outbox.id))
    return [(payload["task"], payload["job_id"]) for payload in rows]


class TestCreated:
    def test_it_is_told_and_validation_is_rung_for(self, session: Session) -> None:
        job = make_job(session, state="validating_files")
        lifecycle.announce_created(session, job)
        assert told(session, job.id) == [
            f"Created fine-tuning job: {job.id}",
            f"Validating training file: {job.training_file_id}",
        ]
        assert bells(session) == [("validate", job.id)]

    def test_both_files_are_named(self, session: Session) -> None:
        project = make_project(session)
        held_out = make_file(session, project)
        job = make_job(session, project, state="validating_files", validation_file_id=held_out.id)
        lifecycle.announce_created(session, job)
        assert told(session, job.id)[1] == (
            f"Validating training file: {job.training_file_id} and validation file: {held_out.id}"
        )


class TestValidate:
    def test_good_files_bring_it_into_the_queue(self, session: Session) -> None:
        job = make_job(session, state="validating_files")
        lifecycle.validate(session, job.id)
        assert job.state == "queued"
        assert told(session, job.id) == ["Files validated, moving job to queued state"]
        assert bells(session) == [("train", job.id)]

    def test_what_is_known_of_the_labels_is_told(self, session: Session) -> None:
        project = make_project(session)
        summary = {
            "labels": {"good": 60, "bad": 40},
            "first_lines": {"good": 1, "bad": 2},
            "notes": ["2 example(s) contradict another."],
        }
        file = make_file(session, project, format="classification", summary=summary)
        job = make_job(
            session,
            project,
            state="validating_files",
            method="classification",
            training_file_id=file.id,
        )
        lifecycle.validate(session, job.id)
        assert told(session, job.id) == [
            f'{file.id}: 2 label(s): "good" 60, "bad" 40.',
            f"{file.id}: 2 example(s) contradict another.",
            "Files validated, moving job to queued state",
        ]

    def test_bad_files_end_it(self, session: Session) -> None:
        project = make_project(session)
        small = make_file(session, project, examples=3)
        job = make_job(session, project, state="validating_files", training_file_id=small.id)
        lifecycle.validate(session, job.id)
        message = "Training file has 3 example(s), but must have at least 10 examples"
        assert (job.state, job.error_code, job.error_param, job.error_message) == (
            "failed",
            "invalid_n_examples",
            "training_file",
            message,
        )
        assert job.finished_at is not None
        assert told(session, job.id) == [message]

    def test_a_file_deleted_meanwhile_ends_it(self, session: Session) -> None:
        job = make_job(session, state="validating_files")
        session.get_one(File, job.training_file_id).deleted_at = job.created_at
        session.flush()
        lifecycle.validate(session, job.id)
        assert (job.state, job.error_code) == ("failed", "invalid_training_file")

    @pytest.mark.parametrize("state", ["queued", "running", "cancelled", "succeeded"])
    def test_a_late_bell_does_nothing(self, session: Session, state: str) -> None:
        job = make_job(session, state=state)
        lifecycle.validate(session, job.id)
        lifecycle.validate(session, "ftjob-unknown")
        assert job.state == state
        assert told(session, job.id) == []


class TestCancel:
    @pytest.mark.parametrize(
        "state", ["validating_files", "queued", "running", "pausing", "paused", "finalizing"]
    )
    def test_it_ends_at_once_and_fences_its_worker(self, session: Session, state: str) -> None:
        job = make_job(session, state=state, epoch=3)
        cancelled = lifecycle.cancel(session, job.project_id, job.id)
        assert cancelled is job
        assert (job.state, job.epoch) == ("cancelled", 4)
        assert job.finished_at is not None
        assert leases.get_directive(session, job.id, 3) is WorkerDirective.CANCEL
        assert told(session, job.id) == ["The job has been cancelled"]
        with pytest.raises(states.LeaseLost):
            states.lock_owned(session, job.id, 3)

    def test_the_lease_is_gone_and_the_attempt_closed(self, session: Session) -> None:
        job = make_job(session)
        claim = leases.acquire(session, "w", lease_seconds=60)
        assert claim is not None
        lifecycle.cancel(session, job.project_id, job.id)
        assert session.get(JobLease, job.id) is None
        assert session.get_one(JobAttempt, (job.id, 1)).outcome == "cancelled"

    def test_once_more_changes_nothing(self, session: Session) -> None:
        job = make_job(session, state="running")
        lifecycle.cancel(session, job.project_id, job.id)
        version = job.version
        assert lifecycle.cancel(session, job.project_id, job.id).version == version
        assert len(told(session, job.id)) == 1

    @pytest.mark.parametrize("state", ["succeeded", "failed"])
    def test_what_has_ended_cannot_be_cancelled(self, session: Session, state: str) -> None:
        job = make_job(session, state=state)
        with pytest.raises(InvalidRequest, match=f"has already {state} and cannot be cancelled"):
            lifecycle.cancel(session, job.project_id, job.id)

    def test_another_projects_job_is_not_there(self, session: Session) -> None:
        job = make_job(session)
        stranger = make_project(session)
        with pytest.raises(NotFound, match="Could not find fine tune"):
            lifecycle.cancel(session, stranger.id, job.id)
        assert job.state == "queued"


class TestPause:
    def test_a_running_job_waits_for_its_worker(self, session: Session) -> None:
        job = make_job(session)
        leases.acquire(session, "w", lease_seconds=60)
        assert lifecycle.pause(session, job.project_id, job.id).state == "pausing"
        assert leases.get_directive(session, job.id, 1) is WorkerDirective.PAUSE
        attempts.yield_job(session, job.id, 1)
        assert job.state == "paused"
        assert told(session, job.id)[-2:] == ["The job is being paused", "The job has been paused"]

    def test_a_queued_job_is_paused_at_once_and_not_claimed(self, session: Session) -> None:
        job = make_job(session)
        assert lifecycle.pause(session, job.project_id, job.id).state == "paused"
        assert leases.acquire(session, "w", lease_seconds=60) is None

    def test_it_goes_on_when_resumed(self, session: Session) -> None:
        job = make_job(session, state="paused")
        assert lifecycle.resume(session, job.project_id, job.id).state == "queued"
        assert bells(session) == [("train", job.id)]

    def test_doing_either_twice_is_harmless(self, session: Session) -> None:
        job = make_job(session, state="running")
        for _ in range(2):
            assert lifecycle.pause(session, job.project_id, job.id).state == "pausing"
        other = make_job(session, state="paused")
        for _ in range(2):
            assert lifecycle.resume(session, other.project_id, other.id).state == "queued"
        assert len(told(session, job.id)) == len(told(session, other.id)) == 1

    @pytest.mark.parametrize(
        ("state", "was"),
        [
            ("succeeded", "has already succeeded"),
            ("failed", "has already failed"),
            ("cancelled", "was cancelled"),
            ("validating_files", "is validating_files"),
        ],
    )
    def test_the_wrong_moment_has_a_sentence(self, session: Session, state: str, was: str) -> None:
        job = make_job(session, state=state)
        words = f"{was} and cannot be paused: only a running or queued job can."
        with pytest.raises(InvalidRequest, match=words):
            lifecycle.pause(session, job.project_id, job.id)
        with pytest.raises(InvalidRequest, match="cannot be resumed"):
            lifecycle.resume(session, job.project_id, job.id)

    def test_it_can_be_paused_again_and_again(self, session: Session) -> None:
        job = make_job(session)
        for _ in range(3):
            lifecycle.pause(session, job.project_id, job.id)
            lifecycle.resume(session, job.project_id, job.id)
        assert told(session, job.id) == ["The job has been paused", "The job has been resumed"] * 3


class TestFail:
    def test_it_has_a_reason(self, session: Session) -> None:
        job = make_job(session, state="running", epoch=2)
        lifecycle.fail(session, job.id, JobFailure("a_code", "A sentence."), by_attempt=2)
        assert (job.state, job.error_code, job.error_message) == ("failed", "a_code", "A sentence.")
        event = session.scalars(select(JobEvent)).one()
        assert (event.level, event.message) == ("error", "A sentence.")

    def test_not_by_a_worker_that_does_not_hold_it(self, session: Session) -> None:
        job = make_job(session, state="running", epoch=2)
        with pytest.raises(states.LeaseLost):
            lifecycle.fail(session, job.id, JobFailure("a_code", "A sentence."), by_attempt=1)
        assert job.state == "running"

    def test_what_only_a_running_job_needs_is_let_go(self, session: Session) -> None:
        job = make_job(session, state="running", epoch=1, total_steps=9)
        stored = checkpoints.StoredCheckpoint(
            step=4, servable=False, prefix="p/4", manifest_sha256="", bytes=1, metrics={}
        )
        checkpoints.record(session, job.id, 1, stored)
        lifecycle.fail(session, job.id, JobFailure("a_code", "A sentence."))
        session.flush()
        payload = session.scalars(select(Outbox.payload).where(Outbox.kind == "delete_blobs")).one()
        assert payload == {"prefix": "p/4/"}
