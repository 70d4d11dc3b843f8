"""Lifecycle operations: created, validated, paused, resumed, cancelled, failed."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import File, JobAttempt, JobEvent, JobLease, Outbox, OutboxKind
from app.errors import InvalidRequest, NotFound
from app.jobs import attempt_outcomes, checkpoints, leases, lifecycle, states
from app.jobs.failures import JobFailure
from app.jobs.leases import TrainerDirective
from tests.factories import make_file, make_job, make_project


def list_messages(session: Session, job_id: str) -> list[str]:
    rows = select(JobEvent.message).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
    return list(session.scalars(rows))


def list_notifications(session: Session) -> list[tuple[str, str]]:
    rows = session.scalars(
        select(Outbox.payload).where(Outbox.kind == OutboxKind.NOTIFY).order_by(Outbox.id)
    )
    return [(payload["task"], payload["job_id"]) for payload in rows]


class TestAnnounceCreated:
    def test_adds_events_and_enqueues_validation(self, session: Session) -> None:
        job = make_job(session, state="validating_files")
        lifecycle.announce_created(session, job)
        assert list_messages(session, job.id) == [
            f"Created fine-tuning job: {job.id}",
            f"Validating training file: {job.training_file_id}",
        ]
        assert list_notifications(session) == [("validate", job.id)]

    def test_event_names_both_files(self, session: Session) -> None:
        project = make_project(session)
        held_out = make_file(session, project)
        job = make_job(session, project, state="validating_files", validation_file_id=held_out.id)
        lifecycle.announce_created(session, job)
        assert list_messages(session, job.id)[1] == (
            f"Validating training file: {job.training_file_id} and validation file: {held_out.id}"
        )


class TestValidate:
    def test_queues_a_job_with_valid_files(self, session: Session) -> None:
        job = make_job(session, state="validating_files")
        lifecycle.validate(session, job.id)
        assert job.state == "queued"
        assert list_messages(session, job.id) == ["Files validated, moving job to queued state"]
        assert list_notifications(session) == [("train", job.id)]

    def test_adds_events_for_labels_and_warnings(self, session: Session) -> None:
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
        assert list_messages(session, job.id) == [
            f'{file.id}: 2 label(s): "good" 60, "bad" 40.',
            f"{file.id}: 2 example(s) contradict another.",
            "Files validated, moving job to queued state",
        ]

    def test_fails_a_job_with_invalid_files(self, session: Session) -> None:
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
        assert list_messages(session, job.id) == [message]

    def test_fails_a_job_whose_file_was_deleted(self, session: Session) -> None:
        job = make_job(session, state="validating_files")
        session.get_one(File, job.training_file_id).deleted_at = job.created_at
        session.flush()
        lifecycle.validate(session, job.id)
        assert (job.state, job.error_code) == ("failed", "invalid_training_file")

    @pytest.mark.parametrize("state", ["queued", "running", "cancelled", "succeeded"])
    def test_a_late_task_does_nothing(self, session: Session, state: str) -> None:
        job = make_job(session, state=state)
        lifecycle.validate(session, job.id)
        lifecycle.validate(session, "ftjob-unknown")
        assert job.state == state
        assert list_messages(session, job.id) == []


class TestCancel:
    @pytest.mark.parametrize(
        "state", ["validating_files", "queued", "running", "pausing", "paused", "finalizing"]
    )
    def test_cancels_at_once_and_rejects_the_trainers_writes(
        self, session: Session, state: str
    ) -> None:
        job = make_job(session, state=state, attempt=3)
        cancelled = lifecycle.cancel(session, job.project_id, job.id)
        assert cancelled is job
        assert (job.state, job.attempt) == ("cancelled", 4)
        assert job.finished_at is not None
        assert leases.get_directive(session, job.id, 3) is TrainerDirective.CANCEL
        assert list_messages(session, job.id) == ["The job has been cancelled"]
        with pytest.raises(states.LeaseLost):
            states.lock_for_attempt(session, job.id, 3)

    def test_deletes_the_lease_and_ends_the_attempt(self, session: Session) -> None:
        job = make_job(session)
        claim = leases.acquire(session, "w", lease_seconds=60)
        assert claim is not None
        lifecycle.cancel(session, job.project_id, job.id)
        assert session.get(JobLease, job.id) is None
        assert session.get_one(JobAttempt, (job.id, 1)).outcome == "cancelled"

    def test_is_idempotent(self, session: Session) -> None:
        job = make_job(session, state="running")
        lifecycle.cancel(session, job.project_id, job.id)
        version = job.version
        assert lifecycle.cancel(session, job.project_id, job.id).version == version
        assert len(list_messages(session, job.id)) == 1

    @pytest.mark.parametrize("state", ["succeeded", "failed"])
    def test_rejects_a_job_that_has_ended(self, session: Session, state: str) -> None:
        job = make_job(session, state=state)
        with pytest.raises(InvalidRequest, match=f"has already {state} and cannot be cancelled"):
            lifecycle.cancel(session, job.project_id, job.id)

    def test_does_not_find_another_projects_job(self, session: Session) -> None:
        job = make_job(session)
        other_tenant = make_project(session)
        with pytest.raises(NotFound, match="Could not find fine tune"):
            lifecycle.cancel(session, other_tenant.id, job.id)
        assert job.state == "queued"


class TestPauseAndResume:
    def test_a_running_job_is_pausing_until_its_trainer_yields(self, session: Session) -> None:
        job = make_job(session)
        leases.acquire(session, "w", lease_seconds=60)
        assert lifecycle.pause(session, job.project_id, job.id).state == "pausing"
        assert leases.get_directive(session, job.id, 1) is TrainerDirective.PAUSE
        attempt_outcomes.yield_job(session, job.id, 1)
        assert job.state == "paused"
        assert list_messages(session, job.id)[-2:] == [
            "The job is being paused",
            "The job has been paused",
        ]

    def test_a_queued_job_is_paused_at_once_and_not_acquired(self, session: Session) -> None:
        job = make_job(session)
        assert lifecycle.pause(session, job.project_id, job.id).state == "paused"
        assert leases.acquire(session, "w", lease_seconds=60) is None

    def test_resume_queues_the_job(self, session: Session) -> None:
        job = make_job(session, state="paused")
        assert lifecycle.resume(session, job.project_id, job.id).state == "queued"
        assert list_notifications(session) == [("train", job.id)]

    def test_pause_and_resume_are_idempotent(self, session: Session) -> None:
        job = make_job(session, state="running")
        for _ in range(2):
            assert lifecycle.pause(session, job.project_id, job.id).state == "pausing"
        other = make_job(session, state="paused")
        for _ in range(2):
            assert lifecycle.resume(session, other.project_id, other.id).state == "queued"
        assert len(list_messages(session, job.id)) == len(list_messages(session, other.id)) == 1

    @pytest.mark.parametrize(
        ("state", "was"),
        [
            ("succeeded", "has already succeeded"),
            ("failed", "has already failed"),
            ("cancelled", "was cancelled"),
            ("validating_files", "is validating_files"),
        ],
    )
    def test_an_illegal_transition_has_an_error_message(
        self, session: Session, state: str, was: str
    ) -> None:
        job = make_job(session, state=state)
        words = f"{was} and cannot be paused: only a running or queued job can."
        with pytest.raises(InvalidRequest, match=words):
            lifecycle.pause(session, job.project_id, job.id)
        with pytest.raises(InvalidRequest, match="cannot be resumed"):
            lifecycle.resume(session, job.project_id, job.id)

    def test_a_job_can_be_paused_repeatedly(self, session: Session) -> None:
        job = make_job(session)
        for _ in range(3):
            lifecycle.pause(session, job.project_id, job.id)
            lifecycle.resume(session, job.project_id, job.id)
        assert (
            list_messages(session, job.id)
            == ["The job has been paused", "The job has been resumed"] * 3
        )


class TestFail:
    def test_stores_the_reason(self, session: Session) -> None:
        job = make_job(session, state="running", attempt=2)
        lifecycle.fail(session, job.id, JobFailure("a_code", "A sentence."), by_attempt=2)
        assert (job.state, job.error_code, job.error_message) == ("failed", "a_code", "A sentence.")
        event = session.scalars(select(JobEvent)).one()
        assert (event.level, event.message) == ("error", "A sentence.")

    def test_rejects_a_trainer_that_does_not_own_the_job(self, session: Session) -> None:
        job = make_job(session, state="running", attempt=2)
        with pytest.raises(states.LeaseLost):
            lifecycle.fail(session, job.id, JobFailure("a_code", "A sentence."), by_attempt=1)
        assert job.state == "running"

    def test_deletes_the_resume_checkpoints(self, session: Session) -> None:
        job = make_job(session, state="running", attempt=1, total_steps=9)
        stored = checkpoints.StoredCheckpoint(
            step=4, servable=False, prefix="p/4", manifest_sha256="", bytes=1, metrics={}
        )
        checkpoints.record(session, job.id, 1, stored)
        lifecycle.fail(session, job.id, JobFailure("a_code", "A sentence."))
        session.flush()
        payload = session.scalars(select(Outbox.payload).where(Outbox.kind == "delete_blobs")).one()
        assert payload == {"prefix": "p/4/"}
