"""Leases: each job is acquired by one trainer and kept with heartbeats."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.session import SessionMaker, transaction
from app.db.tables import File, FineTunedModel, JobAttempt, JobEvent, JobLease
from app.jobs import attempt_outcomes, checkpoints, lease_expiry, leases, lifecycle
from app.jobs.leases import TrainerDirective
from tests.factories import make_file, make_job, make_project


def acquire(session: Session) -> Any:
    return leases.acquire(session, "w", lease_seconds=60)


def test_acquire_sets_state_lease_and_attempt(session: Session) -> None:
    job = make_job(session, attempt=4)
    assignment = acquire(session)
    assert assignment is not None
    assert (assignment.job_id, assignment.attempt, job.state, job.attempt) == (
        job.id,
        5,
        "running",
        5,
    )
    assert session.get_one(JobLease, job.id).attempt == 5
    assert session.get_one(JobAttempt, (job.id, 5)).trainer == "w"
    assert job.started_at is not None
    event = session.scalars(select(JobEvent)).one()
    assert (event.message, event.data) == ("Fine-tuning job started", None)


def test_assignment_has_everything_a_trainer_needs(session: Session) -> None:
    project = make_project(session)
    held_out = make_file(session, project, sha256="b")
    requested = {"n_epochs": "auto", "batch_size": 4}
    job = make_job(session, project, hyperparameters=requested, validation_file_id=held_out.id)
    training = session.get_one(File, job.training_file_id)
    assignment = acquire(session)
    assert assignment.training_file == leases.StoredFile(
        training.id, training.storage_key, training.sha256
    )
    assert assignment.validation_file == leases.StoredFile(held_out.id, held_out.storage_key, "b")
    assert (assignment.project_id, assignment.base_model, assignment.method, assignment.seed) == (
        project.id,
        "smollm2-135m-instruct",
        "supervised",
        7,
    )
    assert (
        assignment.hyperparameters,
        assignment.start_model_prefix,
        assignment.resume_points,
    ) == (requested, None, ())


def test_a_later_attempt_keeps_resolved_hyperparameters(session: Session) -> None:
    make_job(
        session,
        hyperparameters={"n_epochs": "auto", "batch_size": 4},
        resolved_hyperparameters={"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.0},
    )
    assert acquire(session).hyperparameters == {
        "n_epochs": 3,
        "batch_size": 4,
        # Chosen too, though its owner did not mention it.
        "learning_rate_multiplier": 1.0,
    }


def test_assignment_has_the_start_models_prefix(session: Session) -> None:
    project = make_project(session)
    first = make_job(session, project, state="succeeded")
    model = FineTunedModel(
        name="ft:a:acme::12345678",
        project_id=project.id,
        job_id=first.id,
        base_model="a",
        storage_prefix="p/model",
    )
    session.add(model)
    make_job(session, project, start_model=model.name)
    assert acquire(session).start_model_prefix == "p/model"


def test_assignment_has_the_newest_checkpoints(session: Session) -> None:
    job = make_job(session)
    acquire(session)
    for step in (2, 4, 6):
        stored = checkpoints.StoredCheckpoint(
            step=step, servable=False, prefix=f"p/{step}", manifest_sha256="m", bytes=1, metrics={}
        )
        checkpoints.record(session, job.id, 1, stored)
    attempt_outcomes.yield_job(session, job.id, 1)
    assert acquire(session).resume_points == (
        leases.ResumePoint(6, "p/6", "m"),
        leases.ResumePoint(4, "p/4", "m"),
    )


def test_a_job_that_is_not_due_is_not_acquired(session: Session) -> None:
    make_job(session, run_after=clock.seconds_from_now(60))
    assert acquire(session) is None


@pytest.mark.parametrize("state", ["validating_files", "running", "paused", "failed", "cancelled"])
def test_only_queued_jobs_are_acquired(session: Session, state: str) -> None:
    make_job(session, state=state)
    assert acquire(session) is None


def test_concurrent_trainers_acquire_each_job_once(sessions: SessionMaker) -> None:
    with transaction(sessions) as session:
        ids = {make_job(session).id for _ in range(12)}
    acquired_ids: list[str] = []
    start = threading.Barrier(6)

    def acquire_until_empty() -> None:
        start.wait()
        while True:
            with transaction(sessions) as session:
                acquired = acquire(session)
            if acquired is None:
                return
            acquired_ids.append(acquired.job_id)

    threads = [threading.Thread(target=acquire_until_empty) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(acquired_ids) == sorted(ids)


def test_a_locked_job_does_not_block_other_trainers(sessions: SessionMaker) -> None:
    with transaction(sessions) as session:
        first, second = make_job(session).id, make_job(session).id
    with sessions() as first_session, sessions() as second_session:
        acquired = {acquire(first_session).job_id, acquire(second_session).job_id}
    assert acquired == {first, second}


class TestHeartbeat:
    def test_renews_the_lease_and_records_the_step(self, session: Session) -> None:
        job = make_job(session)
        leases.acquire(session, "w", lease_seconds=0)
        lease = session.get_one(JobLease, job.id)
        before = lease.lease_until
        directive = leases.heartbeat(session, job.id, 1, step=9, lease_seconds=60)
        session.refresh(lease)
        assert directive is TrainerDirective.CONTINUE
        assert lease.lease_until > before + timedelta(seconds=50)
        assert lease.step == 9

    def test_renews_an_expired_lease_while_no_other_trainer_has_the_job(
        self, session: Session
    ) -> None:
        job = make_job(session)
        leases.acquire(session, "w", lease_seconds=-100)
        assert (
            leases.heartbeat(session, job.id, 1, step=1, lease_seconds=60)
            is TrainerDirective.CONTINUE
        )
        assert lease_expiry.find_expired_leases(session) == []

    def test_an_earlier_attempt_renews_nothing(self, session: Session) -> None:
        job = make_job(session, attempt=1)
        leases.acquire(session, "w", lease_seconds=-100)
        assert (
            leases.heartbeat(session, job.id, 1, step=1, lease_seconds=60)
            is TrainerDirective.LEASE_LOST
        )
        assert lease_expiry.find_expired_leases(session) == [job.id]

    def test_returns_a_directive(self, session: Session) -> None:
        job = make_job(session)
        acquire(session)

        def send_heartbeat() -> TrainerDirective:
            return leases.heartbeat(session, job.id, 1, step=1, lease_seconds=60)

        lifecycle.pause(session, job.project_id, job.id)
        assert send_heartbeat() is TrainerDirective.PAUSE
        lifecycle.cancel(session, job.project_id, job.id)
        assert send_heartbeat() is TrainerDirective.CANCEL

    def test_without_its_job_the_lease_is_lost(self, session: Session) -> None:
        assert leases.get_directive(session, "ftjob-unknown", 1) is TrainerDirective.LEASE_LOST
        job = make_job(session, state="queued", attempt=1)
        assert leases.get_directive(session, job.id, 1) is TrainerDirective.LEASE_LOST
        assert not leases.is_owner(session, job.id, 1)


def test_leases_use_the_databases_clock(session: Session) -> None:
    make_job(session)
    before = clock.now(session)
    acquire(session)
    until = session.scalars(select(JobLease.lease_until)).one()
    minute = timedelta(seconds=60)
    assert before + minute <= until <= clock.now(session) + minute
