"""Attempts end when they are asked to, and the machine is free."""

from sqlalchemy import update

from app.db.session import transaction
from app.db.tables import Job
from app.jobs import lifecycle
from tests.polling import wait_until
from tests.worker.supervisor.fake_trainer import (
    Background,
    Workshop,
    has_steps,
    outcomes,
    texts,
    weights,
)
from tests.worker.supervisor.fake_training_process import final_weights


class TestStopping:
    def test_a_drained_worker_gives_the_job_back_and_loses_nothing(
        self, shop: Workshop, background: Background
    ) -> None:
        job_id = shop.order(steps=8, every=100, ending="waits", at=3, until=1)
        thread = background(shop.supervisor.run_next)
        wait_until("it has made a step", lambda: has_steps(shop, job_id))
        shop.machine.stopping.set()
        thread.join()
        job = shop.job(job_id)
        assert (job.state, job.no_progress_attempts) == ("queued", 0)
        assert outcomes(shop, job_id) == [("yielded", 75)]
        shop.machine.stopping.clear()
        shop.supervisor.run_next()
        assert weights(shop, job_id) == final_weights(7, 8)
        assert any(line.startswith("Step 8/8") for line in texts(shop, job_id))

    def test_a_worker_that_is_to_stop_takes_nothing(self, shop: Workshop) -> None:
        shop.order()
        shop.machine.stopping.set()
        assert not shop.supervisor.run_next()

    def test_a_paused_job_continues_from_its_step(
        self, shop: Workshop, background: Background
    ) -> None:
        job_id = shop.order(steps=8, every=100, ending="waits", at=3, until=1)
        thread = background(shop.supervisor.run_next)
        wait_until("it has made a step", lambda: has_steps(shop, job_id))
        project_id = shop.job(job_id).project_id
        with transaction(shop.sessions) as session:
            assert lifecycle.pause(session, project_id, job_id).state == "pausing"
        thread.join()
        assert shop.job(job_id).state == "paused"
        assert not shop.supervisor.run_next()
        with transaction(shop.sessions) as session:
            lifecycle.resume(session, project_id, job_id)
        shop.supervisor.run_next()
        assert weights(shop, job_id) == final_weights(7, 8)

    def test_a_cancelled_job_frees_the_machine_though_training_is_deaf(
        self, shop: Workshop, background: Background
    ) -> None:
        job_id = shop.order(steps=8, every=2, ending="deaf", at=5)
        thread = background(shop.supervisor.run_next)
        wait_until("it has made a step", lambda: has_steps(shop, job_id))
        with transaction(shop.sessions) as session:
            lifecycle.cancel(session, shop.job(job_id).project_id, job_id)
        thread.join()
        assert shop.job(job_id).state == "cancelled"
        assert outcomes(shop, job_id) == [("cancelled", None)]
        assert texts(shop, job_id)[-1] == "The job has been cancelled"
        assert list((shop.machine.settings.home / "runs").iterdir()) == []

    def test_a_fenced_attempt_leaves_the_job_to_the_other(
        self, shop: Workshop, background: Background
    ) -> None:
        job_id = shop.order(ending="waits", at=5)
        thread = background(shop.supervisor.run_next)
        wait_until("it has made a step", lambda: has_steps(shop, job_id))
        with transaction(shop.sessions) as session:
            session.execute(update(Job).where(Job.id == job_id).values(epoch=Job.epoch + 1))
        thread.join()
        assert shop.job(job_id).state == "running"
        assert outcomes(shop, job_id) == [(None, None)]
