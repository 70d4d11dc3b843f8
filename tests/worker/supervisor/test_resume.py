"""Attempts resume from the last usable checkpoint of earlier ones."""

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
    def test_a_killed_training_resumes_bit_for_bit(self, trainer: TrainerFixture, at: int) -> None:
        job_id = trainer.create_job(steps=6, every=2, fault="kill", at_step=at, until_attempt=1)
        trainer.runner.run_next()
        assert attempt_outcomes(trainer, job_id) == [("crashed", -9)]
        clear_retry_delay(trainer, job_id)
        trainer.runner.run_next()
        assert trainer.get_job(job_id).state == "succeeded"
        assert model_weights(trainer, job_id) == final_weights(7, 6)
        with transaction(trainer.sessions) as session:
            steps = select(JobMetric.step).where(JobMetric.job_id == job_id)
            assert sorted(session.scalars(steps)) == [1, 2, 3, 4, 5, 6]

    def test_a_corrupt_checkpoint_falls_back_to_the_previous_one(
        self, trainer: TrainerFixture
    ) -> None:
        job_id = trainer.create_job(steps=6, every=2, fault="kill", at_step=5, until_attempt=1)
        trainer.runner.run_next()
        with transaction(trainer.sessions) as session:
            newest = select(Checkpoint.storage_prefix).order_by(Checkpoint.step.desc()).limit(1)
            prefix = session.scalars(newest).one()
        trainer.store.put(join_key(prefix, "state.bin"), b"flipped")
        clear_retry_delay(trainer, job_id)
        trainer.runner.run_next()
        assert model_weights(trainer, job_id) == final_weights(7, 6)

    def test_out_of_memory_halves_the_micro_batch(self, trainer: TrainerFixture) -> None:
        job_id = trainer.create_job(
            steps=4, fault="out_of_device_memory", at_step=1, until_attempt=1
        )
        trainer.runner.run_next()
        assert (trainer.get_job(job_id).state, trainer.get_job(job_id).micro_batch_size) == (
            "queued",
            2,
        )
        trainer.runner.run_next()
        assert trainer.get_job(job_id).state == "succeeded"

    def test_out_of_memory_with_one_example_fails_the_job(self, trainer: TrainerFixture) -> None:
        job_id = trainer.create_job(fault="out_of_device_memory", at_step=1)
        while trainer.runner.run_next():
            pass
        job = trainer.get_job(job_id)
        assert (job.state, job.error_code, job.micro_batch_size) == ("failed", "out_of_memory", 1)
        # With 4, 2 and 1 examples, and with one and gradient checkpointing.
        assert len(attempt_outcomes(trainer, job_id)) == 4


class TestContinuedTraining:
    def test_it_starts_from_the_given_model(self, trainer: TrainerFixture) -> None:
        first = trainer.create_job(steps=2)
        trainer.runner.run_next()
        second = trainer.create_job(steps=3, start_model=trainer.get_job(first).fine_tuned_model)
        trainer.runner.run_next()
        expected = final_weights(7, 2)
        for step in (1, 2, 3):
            expected = next_state(expected, step)
        assert model_weights(trainer, second) == expected

    def test_a_deleted_start_model_fails_the_job(self, trainer: TrainerFixture) -> None:
        first = trainer.create_job(steps=2)
        trainer.runner.run_next()
        second = trainer.create_job(steps=3, start_model=trainer.get_job(first).fine_tuned_model)
        with transaction(trainer.sessions) as session:
            session.execute(update(FineTunedModel).values(deleted_at=FineTunedModel.created_at))
        trainer.runner.run_next()
        assert (trainer.get_job(second).state, trainer.get_job(second).error_code) == (
            "failed",
            "model_not_found",
        )
