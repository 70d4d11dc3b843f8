"""Attempts go on where the one before ended, whatever it left."""

import pytest
from sqlalchemy import select, update

from app.db.session import transaction
from app.db.tables import Checkpoint, JobMetric, TunedModel
from app.storage import inside
from tests.worker.supervisor.fake_trainer import Workshop, at_once, outcomes, weights
from tests.worker.supervisor.fake_training_process import advance, final_weights


class TestContinuing:
    @pytest.mark.parametrize("at", [1, 3, 4, 6])
    def test_a_killed_training_ends_with_the_same_bits(self, shop: Workshop, at: int) -> None:
        job_id = shop.order(steps=6, every=2, ending="killed", at=at, until=1)
        shop.supervisor.run_next()
        assert outcomes(shop, job_id) == [("crashed", -9)]
        at_once(shop, job_id)
        shop.supervisor.run_next()
        assert shop.job(job_id).state == "succeeded"
        assert weights(shop, job_id) == final_weights(7, 6)
        with transaction(shop.sessions) as session:
            steps = select(JobMetric.step).where(JobMetric.job_id == job_id)
            assert sorted(session.scalars(steps)) == [1, 2, 3, 4, 5, 6]

    def test_a_damaged_checkpoint_gives_way_to_the_one_before(self, shop: Workshop) -> None:
        job_id = shop.order(steps=6, every=2, ending="killed", at=5, until=1)
        shop.supervisor.run_next()
        with transaction(shop.sessions) as session:
            newest = select(Checkpoint.storage_prefix).order_by(Checkpoint.step.desc()).limit(1)
            prefix = session.scalars(newest).one()
        shop.store.put(inside(prefix, "state.bin"), b"flipped")
        at_once(shop, job_id)
        shop.supervisor.run_next()
        assert weights(shop, job_id) == final_weights(7, 6)

    def test_out_of_memory_halves_the_examples_at_a_time(self, shop: Workshop) -> None:
        job_id = shop.order(steps=4, ending="out_of_device_memory", at=1, until=1)
        shop.supervisor.run_next()
        assert (shop.job(job_id).state, shop.job(job_id).micro_batch) == ("queued", 2)
        shop.supervisor.run_next()
        assert shop.job(job_id).state == "succeeded"

    def test_out_of_memory_with_one_example_is_the_end(self, shop: Workshop) -> None:
        job_id = shop.order(ending="out_of_device_memory", at=1)
        while shop.supervisor.run_next():
            pass
        job = shop.job(job_id)
        assert (job.state, job.error_code, job.micro_batch) == ("failed", "out_of_memory", 1)
        assert len(outcomes(shop, job_id)) == 3


class TestContinuedTraining:
    def test_it_starts_from_the_model_it_continues(self, shop: Workshop) -> None:
        first = shop.order(steps=2)
        shop.supervisor.run_next()
        second = shop.order(steps=3, start_model=shop.job(first).tuned_model)
        shop.supervisor.run_next()
        expected = final_weights(7, 2)
        for step in (1, 2, 3):
            expected = advance(expected, step)
        assert weights(shop, second) == expected

    def test_a_model_deleted_meanwhile_ends_it(self, shop: Workshop) -> None:
        first = shop.order(steps=2)
        shop.supervisor.run_next()
        second = shop.order(steps=3, start_model=shop.job(first).tuned_model)
        with transaction(shop.sessions) as session:
            session.execute(update(TunedModel).values(deleted_at=TunedModel.created_at))
        shop.supervisor.run_next()
        assert (shop.job(second).state, shop.job(second).error_code) == (
            "failed",
            "model_not_found",
        )
