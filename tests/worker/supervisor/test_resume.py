"""Attempts go on where the one before ended, whatever it left."""

import pytest
from sqlalchemy import select, update

from app.db.session import transaction
from app.db.tables import Checkpoint, FineTunedModel, JobMetric
from app.storage import join_key
from tests.worker.supervisor.fake_trainer import (
    TrainerFixture,
    attempt_outcomes,
    clear_retry_delay,
    model_weights,
)
from tests.worker.supervisor.fake_training_process import final_weights, next_state


class TestContinuing:
    @pytest.mark.parametrize("at", [1, 3, 4, 6])
    def test_a_killed_training_ends_with_the_same_bits(self, shop: TrainerFixture, at: int) -> None:
        job_id = shop.create_job(steps=6, every=2, ending="killed", at=at, until=1)
        shop.runner.run_next()
        assert attempt_outcomes(shop, job_id) == [("crashed", -9)]
        clear_retry_delay(shop, job_id)
        shop.runner.run_next()
        assert shop.get_job(job_id).state == "succeeded"
        assert model_weights(shop, job_id) == final_weights(7, 6)
        with transaction(shop.sessions) as session:
            steps = select(JobMetric.step).where(JobMetric.job_id == job_id)
            assert sorted(session.scalars(steps)) == [1, 2, 3, 4, 5, 6]

    def test_a_damaged_checkpoint_gives_way_to_the_one_before(self, shop: TrainerFixture) -> None:
        job_id = shop.create_job(steps=6, every=2, ending="killed", at=5, until=1)
        shop.runner.run_next()
        with transaction(shop.sessions) as session:
            newest = select(Checkpoint.storage_prefix).order_by(Checkpoint.step.desc()).limit(1)
            prefix = session.scalars(newest).one()
        shop.store.put(join_key(prefix, "state.bin"), b"flipped")
        clear_retry_delay(shop, job_id)
        shop.runner.run_next()
        assert model_weights(shop, job_id) == final_weights(7, 6)

    def test_out_of_memory_halves_the_examples_at_a_time(self, shop: TrainerFixture) -> None:
        job_id = shop.create_job(steps=4, ending="out_of_device_memory", at=1, until=1)
        shop.runner.run_next()
        assert (shop.get_job(job_id).state, shop.get_job(job_id).micro_batch) == ("queued", 2)
        shop.runner.run_next()
        assert shop.get_job(job_id).state == "succeeded"

    def test_out_of_memory_with_one_example_is_the_end(self, shop: TrainerFixture) -> None:
        job_id = shop.create_job(ending="out_of_device_memory", at=1)
        while shop.runner.run_next():
            pass
        job = shop.get_job(job_id)
        assert (job.state, job.error_code, job.micro_batch) == ("failed", "out_of_memory", 1)
        assert len(attempt_outcomes(shop, job_id)) == 3


class TestContinuedTraining:
    def test_it_starts_from_the_model_it_continues(self, shop: TrainerFixture) -> None:
        first = shop.create_job(steps=2)
        shop.runner.run_next()
        second = shop.create_job(steps=3, start_model=shop.get_job(first).tuned_model)
        shop.runner.run_next()
        expected = final_weights(7, 2)
        for step in (1, 2, 3):
            expected = next_state(expected, step)
        assert model_weights(shop, second) == expected

    def test_a_model_deleted_meanwhile_ends_it(self, shop: TrainerFixture) -> None:
        first = shop.create_job(steps=2)
        shop.runner.run_next()
        second = shop.create_job(steps=3, start_model=shop.get_job(first).tuned_model)
        with transaction(shop.sessions) as session:
            session.execute(update(FineTunedModel).values(deleted_at=FineTunedModel.created_at))
        shop.runner.run_next()
        assert (shop.get_job(second).state, shop.get_job(second).error_code) == (
            "failed",
            "model_not_found",
        )
