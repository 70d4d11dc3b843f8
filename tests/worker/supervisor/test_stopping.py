"""Attempts end when they are asked to, and the machine is free."""

from sqlalchemy import update

from app.db.session import transaction
from app.db.tables import Job
from app.jobs import lifecycle
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


class TestStopping:
    def test_a_drained_worker_gives_the_job_back_and_loses_nothing(
        self, shop: TrainerFixture, background: RunInBackground
    ) -> None:
        job_id = shop.create_job(steps=8, every=100, ending="waits", at=3, until=1)
        thread = background(shop.runner.run_next)
        wait_until("it has made a step", lambda: has_metrics(shop, job_id))
        shop.context.stopping.set()
        thread.join()
        job = shop.get_job(job_id)
        assert (job.state, job.no_progress_attempts) == ("queued", 0)
        assert attempt_outcomes(shop, job_id) == [("yielded", 75)]
        shop.context.stopping.clear()
        shop.runner.run_next()
        assert model_weights(shop, job_id) == final_weights(7, 8)
        assert any(line.startswith("Step 8/8") for line in event_messages(shop, job_id))

    def test_a_worker_that_is_to_stop_takes_nothing(self, shop: TrainerFixture) -> None:
        shop.create_job()
        shop.context.stopping.set()
        assert not shop.runner.run_next()

    def test_a_paused_job_continues_from_its_step(
        self, shop: TrainerFixture, background: RunInBackground
    ) -> None:
        job_id = shop.create_job(steps=8, every=100, ending="waits", at=3, until=1)
        thread = background(shop.runner.run_next)
        wait_until("it has made a step", lambda: has_metrics(shop, job_id))
        project_id = shop.get_job(job_id).project_id
        with transaction(shop.sessions) as session:
            assert lifecycle.pause(session, project_id, job_id).state == "pausing"
        thread.join()
        assert shop.get_job(job_id).state == "paused"
        assert not shop.runner.run_next()
        with transaction(shop.sessions) as session:
            lifecycle.resume(session, project_id, job_id)
        shop.runner.run_next()
        assert model_weights(shop, job_id) == final_weights(7, 8)

    def test_a_cancelled_job_frees_the_machine_though_training_is_deaf(
        self, shop: TrainerFixture, background: RunInBackground
    ) -> None:
        job_id = shop.create_job(steps=8, every=2, ending="deaf", at=5)
        thread = background(shop.runner.run_next)
        wait_until("it has made a step", lambda: has_metrics(shop, job_id))
        with transaction(shop.sessions) as session:
            lifecycle.cancel(session, shop.get_job(job_id).project_id, job_id)
        thread.join()
        assert shop.get_job(job_id).state == "cancelled"
        assert attempt_outcomes(shop, job_id) == [("cancelled", None)]
        assert event_messages(shop, job_id)[-1] == "The job has been cancelled"
        assert list((shop.context.settings.home / "runs").iterdir()) == []

    def test_a_fenced_attempt_leaves_the_job_to_the_other(
        self, shop: TrainerFixture, background: RunInBackground
    ) -> None:
        job_id = shop.create_job(ending="waits", at=5)
        thread = background(shop.runner.run_next)
        wait_until("it has made a step", lambda: has_metrics(shop, job_id))
        with transaction(shop.sessions) as session:
            session.execute(update(Job).where(Job.id == job_id).values(epoch=Job.epoch + 1))
        thread.join()
        assert shop.get_job(job_id).state == "running"
        assert attempt_outcomes(shop, job_id) == [(None, None)]
