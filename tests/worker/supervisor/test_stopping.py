"""Attempts that are stopped: by a shutdown, a pause, a cancellation or a lost lease."""

import dataclasses

import pytest
from sqlalchemy import update

from app.db.session import transaction
from app.db.tables import Job, JobLease, Project
from app.jobs import lifecycle
from app.settings import Settings
from tests.polling import wait_until
from tests.worker.supervisor.fake_trainer import (
    RunInBackground,
    TrainerFixture,
    attempt_outcomes,
    event_messages,
    has_metrics,
    model_weights,
)
from tests.worker.supervisor.fake_training_process import final_weights
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.job_runner import JobRunner


class TestStopping:
    def test_a_draining_trainer_requeues_its_job_without_losing_steps(
        self, trainer: TrainerFixture, run_in_background: RunInBackground
    ) -> None:
        job_id = trainer.create_job(steps=8, every=100, fault="wait", at_step=3, until_attempt=1)
        thread = run_in_background(trainer.runner.run_next)
        wait_until("it has made a step", lambda: has_metrics(trainer, job_id))
        trainer.context.stopping.set()
        thread.join()
        job = trainer.get_job(job_id)
        assert (job.state, job.no_progress_attempts) == ("queued", 0)
        assert attempt_outcomes(trainer, job_id) == [("yielded", 75)]
        trainer.context.stopping.clear()
        trainer.runner.run_next()
        assert model_weights(trainer, job_id) == final_weights(7, 8)
        assert any(line.startswith("Step 8/8") for line in event_messages(trainer, job_id))

    def test_a_draining_trainer_takes_no_job(self, trainer: TrainerFixture) -> None:
        trainer.create_job()
        trainer.context.stopping.set()
        assert not trainer.runner.run_next()

    def test_a_paused_job_resumes_from_its_step(
        self, trainer: TrainerFixture, run_in_background: RunInBackground
    ) -> None:
        job_id = trainer.create_job(steps=8, every=100, fault="wait", at_step=3, until_attempt=1)
        thread = run_in_background(trainer.runner.run_next)
        wait_until("it has made a step", lambda: has_metrics(trainer, job_id))
        project_id = trainer.get_job(job_id).project_id
        with transaction(trainer.sessions) as session:
            assert lifecycle.pause(session, project_id, job_id).state == "pausing"
        thread.join()
        assert trainer.get_job(job_id).state == "paused"
        assert not trainer.runner.run_next()
        with transaction(trainer.sessions) as session:
            lifecycle.resume(session, project_id, job_id)
        trainer.runner.run_next()
        assert model_weights(trainer, job_id) == final_weights(7, 8)

    def test_a_cancelled_job_ends_even_if_training_ignores_signals(
        self, trainer: TrainerFixture, run_in_background: RunInBackground
    ) -> None:
        job_id = trainer.create_job(steps=8, every=2, fault="ignore_sigterm", at_step=5)
        thread = run_in_background(trainer.runner.run_next)
        wait_until("it has made a step", lambda: has_metrics(trainer, job_id))
        with transaction(trainer.sessions) as session:
            lifecycle.cancel(session, trainer.get_job(job_id).project_id, job_id)
        thread.join()
        assert trainer.get_job(job_id).state == "cancelled"
        assert attempt_outcomes(trainer, job_id) == [("cancelled", None)]
        assert event_messages(trainer, job_id)[-1] == "The job has been cancelled"
        assert list((trainer.context.settings.home / "runs").iterdir()) == []

    def test_an_attempt_that_lost_its_lease_leaves_the_job_alone(
        self, trainer: TrainerFixture, run_in_background: RunInBackground
    ) -> None:
        job_id = trainer.create_job(fault="wait", at_step=5)
        thread = run_in_background(trainer.runner.run_next)
        wait_until("it has made a step", lambda: has_metrics(trainer, job_id))
        with transaction(trainer.sessions) as session:
            session.execute(update(Job).where(Job.id == job_id).values(attempt=Job.attempt + 1))
        thread.join()
        assert trainer.get_job(job_id).state == "running"
        assert attempt_outcomes(trainer, job_id) == [(None, None)]


class TestA58Limits:
    def test_a_job_yields_its_trainer_when_requested(
        self, trainer: TrainerFixture, run_in_background: RunInBackground
    ) -> None:
        job_id = trainer.create_job(steps=8, every=100, fault="wait", at_step=3, until_attempt=1)
        thread = run_in_background(trainer.runner.run_next)
        wait_until("it has made a step", lambda: has_metrics(trainer, job_id))
        with transaction(trainer.sessions) as session:
            lease = session.get_one(JobLease, job_id)
            lease.yield_requested_at = lease.heartbeat_at
        thread.join()
        job = trainer.get_job(job_id)
        assert (job.state, job.no_progress_attempts) == ("queued", 0)
        assert attempt_outcomes(trainer, job_id) == [("yielded", 75)]
        assert "used its time slice" in event_messages(trainer, job_id)[-1]
        with transaction(trainer.sessions) as session:
            charged = session.get_one(Project, job.project_id).virtual_time
        assert charged == pytest.approx(job.trained_seconds, abs=0.1)
        trainer.runner.run_next()
        assert model_weights(trainer, job_id) == final_weights(7, 8)

    def test_a_job_stops_at_its_time_limit(
        self, context: TrainerContext, run_in_background: RunInBackground
    ) -> None:
        limited = context.settings.model_copy(update={"max_job_hours": 3 / 3600})
        trainer = with_settings(context, limited)
        job_id = trainer.create_job(steps=10_000, every=10_000, pace=0.05)
        trainer.runner.run_next()
        job = trainer.get_job(job_id)
        assert (job.state, job.error_code) == ("failed", "time_limit_exceeded")
        assert "is the model ft:" in (job.error_message or "")

    def test_a_job_with_too_many_tokens_fails_before_it_trains(
        self, context: TrainerContext
    ) -> None:
        trainer = with_settings(context, context.settings.model_copy(update={"max_job_tokens": 9}))
        job_id = trainer.create_job(steps=10_000, pace=0.05)
        trainer.runner.run_next()
        job = trainer.get_job(job_id)
        assert (job.state, job.error_code) == ("failed", "token_limit_exceeded")
        assert "at least 120 tokens" in (job.error_message or "")


def with_settings(context: TrainerContext, settings: Settings) -> TrainerFixture:
    changed = dataclasses.replace(context, settings=settings)
    return TrainerFixture(
        sessions=context.sessions, store=context.store, context=changed, runner=JobRunner(changed)
    )
