"""Who works on what: one worker a job, in order, for as long as it is heard of."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import clock
from app.db.session import SessionMaker, transaction
from app.db.tables import File, FineTunedModel, JobAttempt, JobEvent, JobLease
from app.jobs import attempts, checkpoints, leases, lifecycle
from app.jobs.leases import WorkerDirective
from tests.factories import make_file, make_job, make_project


def claim(session: Session) -> Any:
    return leases.acquire(session, "w", lease_seconds=60)


def test_a_claim_is_a_hold(session: Session) -> None:
    job = make_job(session, epoch=4)
    taken = claim(session)
    assert taken is not None
    assert (taken.job_id, taken.epoch, job.state, job.epoch) == (job.id, 5, "running", 5)
    assert session.get_one(JobLease, job.id).epoch == 5
    assert session.get_one(JobAttempt, (job.id, 5)).worker == "w"
    assert job.started_at is not None
    event = session.scalars(select(JobEvent)).one()
    assert (event.message, event.data) == ("Fine-tuning job started", None)


def test_it_carries_all_that_the_worker_needs(session: Session) -> None:
    project = make_project(session)
    held_out = make_file(session, project, sha256="b")
    asked = {"n_epochs": "auto", "batch_size": 4}
    job = make_job(session, project, hyperparameters=asked, validation_file_id=held_out.id)
    training = session.get_one(File, job.training_file_id)
    taken = claim(session)
    assert taken.training == leases.StoredFile(training.id, training.storage_key, training.sha256)
    assert taken.validation == leases.StoredFile(held_out.id, held_out.storage_key, "b")
    assert (taken.project_id, taken.base_model, taken.method, taken.seed) == (
        project.id,
        "smollm2-135m-instruct",
        "supervised",
        7,
    )
    assert (taken.hyperparameters, taken.init_prefix, taken.resumable) == (asked, None, ())


def test_a_later_attempt_keeps_the_numbers_that_the_first_chose(session: Session) -> None:
    make_job(
        session,
        hyperparameters={"n_epochs": "auto", "batch_size": 4},
        resolved={"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.0},
    )
    assert claim(session).hyperparameters == {"n_epochs": 3, "batch_size": 4}


def test_a_continued_training_starts_from_its_model(session: Session) -> None:
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
    assert claim(session).init_prefix == "p/model"


def test_it_continues_from_the_newest_checkpoints(session: Session) -> None:
    job = make_job(session)
    claim(session)
    for step in (2, 4, 6):
        stored = checkpoints.StoredCheckpoint(
            step=step, servable=False, prefix=f"p/{step}", manifest_sha256="m", bytes=1, metrics={}
        )
        checkpoints.record(session, job.id, 1, stored)
    attempts.yield_job(session, job.id, 1)
    assert claim(session).resumable == (
        leases.ResumePoint(6, "p/6", "m"),
        leases.ResumePoint(4, "p/4", "m"),
    )


def test_a_job_that_waits_is_left_alone(session: Session) -> None:
    make_job(session, run_after=clock.seconds_from_now(60))
    assert claim(session) is None


@pytest.mark.parametrize("state", ["validating_files", "running", "paused", "failed", "cancelled"])
def test_only_queued_jobs_are_claimed(session: Session, state: str) -> None:
    make_job(session, state=state)
    assert claim(session) is None


def test_many_workers_get_each_job_once(sessions: SessionMaker) -> None:
    with transaction(sessions) as session:
        ids = {make_job(session).id for _ in range(12)}
    taken: list[str] = []
    start = threading.Barrier(6)

    def work() -> None:
        start.wait()
        while True:
            with transaction(sessions) as session:
                got = claim(session)
            if got is None:
                return
            taken.append(got.job_id)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(ids)


def test_a_taken_job_does_not_keep_others_waiting(sessions: SessionMaker) -> None:
    with transaction(sessions) as session:
        first, second = make_job(session).id, make_job(session).id
    with sessions() as one, sessions() as other:
        got = {claim(one).job_id, claim(other).job_id}
    assert got == {first, second}


class TestHeartbeat:
    def test_it_renews_the_lease_and_notes_the_step(self, session: Session) -> None:
        job = make_job(session)
        leases.acquire(session, "w", lease_seconds=0)
        lease = session.get_one(JobLease, job.id)
        before = lease.lease_until
        order = leases.heartbeat(session, job.id, 1, step=9, lease_seconds=60)
        session.refresh(lease)
        assert order is WorkerDirective.CONTINUE
        assert lease.lease_until > before + timedelta(seconds=50)
        assert lease.step == 9

    def test_a_late_one_counts_while_nobody_else_has_the_job(self, session: Session) -> None:
        job = make_job(session)
        leases.acquire(session, "w", lease_seconds=-100)
        assert (
            leases.heartbeat(session, job.id, 1, step=1, lease_seconds=60)
            is WorkerDirective.CONTINUE
        )
        assert attempts.find_expired_leases(session) == []

    def test_of_an_earlier_attempt_it_renews_nothing(self, session: Session) -> None:
        job = make_job(session, epoch=1)
        leases.acquire(session, "w", lease_seconds=-100)
        assert (
            leases.heartbeat(session, job.id, 1, step=1, lease_seconds=60)
            is WorkerDirective.LEASE_LOST
        )
        assert attempts.find_expired_leases(session) == [job.id]

    def test_it_brings_orders(self, session: Session) -> None:
        job = make_job(session)
        claim(session)

        def beat() -> WorkerDirective:
            return leases.heartbeat(session, job.id, 1, step=1, lease_seconds=60)

        lifecycle.pause(session, job.project_id, job.id)
        assert beat() is WorkerDirective.PAUSE
        lifecycle.cancel(session, job.project_id, job.id)
        assert beat() is WorkerDirective.CANCEL

    def test_without_its_job_there_is_nothing_to_do(self, session: Session) -> None:
        assert leases.get_directive(session, "ftjob-unknown", 1) is WorkerDirective.LEASE_LOST
        job = make_job(session, state="queued", epoch=1)
        assert leases.get_directive(session, job.id, 1) is WorkerDirective.LEASE_LOST
        assert not leases.is_owner(session, job.id, 1)


def test_leases_are_measured_by_the_databases_clock(session: Session) -> None:
    make_job(session)
    before = clock.now(session)
    claim(session)
    until = session.scalars(select(JobLease.lease_until)).one()
    minute = timedelta(seconds=60)
    assert before + minute <= until <= clock.now(session) + minute
