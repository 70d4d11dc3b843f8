"""Attempts with real processes: each exit code leads to its outcome."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from app.db.session import transaction
from app.db.tables import Checkpoint, File, FineTunedModel, Job, JobAttempt, JobLease, TrainingUsage
from tests.worker.supervisor.fake_trainer import (
    TrainerFixture,
    attempt_outcomes,
    clear_retry_delay,
    event_messages,
    model_weights,
)
from tests.worker.supervisor.fake_training_process import final_weights


class TestSuccess:
    def test_a_job_becomes_a_model(self, trainer: TrainerFixture) -> None:
        job_id = trainer.create_job(steps=6, every=2)
        assert trainer.runner.run_next()
        job = trainer.get_job(job_id)
        assert (job.state, job.trained_tokens, job.total_steps) == ("succeeded", 120, 6)
        assert job.resolved_hyperparameters == {
            "n_epochs": 3,
            "batch_size": 4,
            "learning_rate_multiplier": 1.0,
        }
        assert job.finished_at is not None
        assert job.estimated_finish is None
        assert model_weights(trainer, job_id) == final_weights(7, 6)
        assert attempt_outcomes(trainer, job_id) == [("done", 0)]

    def test_job_events_are_in_order(self, trainer: TrainerFixture) -> None:
        job_id = trainer.create_job(steps=4, every=2)
        trainer.runner.run_next()
        messages = event_messages(trainer, job_id)
        model = trainer.get_job(job_id).fine_tuned_model
        assert messages[0] == "Fine-tuning job started"
        assert "Step 1/4: training loss=4.00" in messages
        assert messages[-2:] == [
            f"New fine-tuned model created: {model}",
            "The job has successfully completed",
        ]
        created = [
            line for line in messages if line.startswith("Checkpoint created at step 2 with")
        ]
        assert len(created) == 1
        assert messages.index("Step 2/4: training loss=2.00") < messages.index(created[0])

    def test_each_checkpoint_is_a_model_and_the_last_is_the_final_model(
        self, trainer: TrainerFixture
    ) -> None:
        job_id = trainer.create_job(steps=6, every=2)
        trainer.runner.run_next()
        with transaction(trainer.sessions) as session:
            rows = session.scalars(
                select(Checkpoint)
                .where(Checkpoint.job_id == job_id, Checkpoint.kind == "user")
                .order_by(Checkpoint.step)
            ).all()
            models = {row.name: row.step for row in session.scalars(select(FineTunedModel))}
        assert [row.step for row in rows] == [2, 4, 6]
        assert rows[-1].model_name == trainer.get_job(job_id).fine_tuned_model
        assert models == {row.model_name: row.step if row.step < 6 else None for row in rows}

    def test_the_result_file_is_a_csv(self, trainer: TrainerFixture) -> None:
        job_id = trainer.create_job(steps=3, every=3)
        trainer.runner.run_next()
        with transaction(trainer.sessions) as session:
            file = session.get_one(File, trainer.get_job(job_id).result_file_id)
        content = trainer.store.get(file.storage_key)
        assert (file.purpose, file.filename, file.bytes) == (
            "fine-tune-results",
            "step_metrics.csv",
            len(content),
        )
        header, first, *_ = content.decode().splitlines()
        assert header == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
        assert first == "1,4.0,0.5,,"

    def test_usage_is_recorded_and_folder_and_lease_are_removed(
        self, trainer: TrainerFixture
    ) -> None:
        job_id = trainer.create_job()
        trainer.runner.run_next()
        with transaction(trainer.sessions) as session:
            assert session.get_one(TrainingUsage, job_id).trained_tokens == 120
            assert session.get(JobLease, job_id) is None
        assert list((trainer.context.settings.home / "runs").iterdir()) == []

    def test_without_queued_jobs_nothing_runs(self, trainer: TrainerFixture) -> None:
        assert not trainer.runner.run_next()


class TestFailure:
    def test_a_user_error_fails_the_job_at_once(self, trainer: TrainerFixture) -> None:
        job_id = trainer.create_job(fault="user_error", at_step=3)
        trainer.runner.run_next()
        job = trainer.get_job(job_id)
        assert (job.state, job.error_code, job.error_message, job.error_param) == (
            "failed",
            "invalid_training_file",
            "Bad.",
            "training_file",
        )
        assert attempt_outcomes(trainer, job_id) == [("failed", 10)]
        assert event_messages(trainer, job_id)[-1] == "Bad."

    def test_a_loss_that_is_not_finite_at_smaller_rates_either_fails_the_job(
        self, trainer: TrainerFixture
    ) -> None:
        job_id = trainer.create_job(fault="loss_not_finite", at_step=2)
        for _ in range(3):
            trainer.runner.run_next()
        job = trainer.get_job(job_id)
        assert (job.state, job.error_code) == ("failed", "loss_not_finite")
        outcomes = [("diverged", 12), ("diverged", 12), ("failed", 12)]
        assert attempt_outcomes(trainer, job_id) == outcomes

    def test_a_deleted_file_fails_the_job(self, trainer: TrainerFixture) -> None:
        job_id = trainer.create_job()
        with transaction(trainer.sessions) as session:
            file = session.get_one(File, trainer.get_job(job_id).training_file_id)
        trainer.store.delete(file.storage_key)
        trainer.runner.run_next()
        job = trainer.get_job(job_id)
        assert (job.state, job.error_code) == ("failed", "invalid_training_file")
        assert job.error_message is not None
        assert "was deleted" in job.error_message

    def test_a_corrupt_file_is_not_trained_on(self, trainer: TrainerFixture) -> None:
        job_id = trainer.create_job()
        with transaction(trainer.sessions) as session:
            file = session.get_one(File, trainer.get_job(job_id).training_file_id)
        trainer.store.put(file.storage_key, b"other bytes")
        trainer.runner.run_next()
        assert trainer.get_job(job_id).state == "queued"
        assert attempt_outcomes(trainer, job_id) == [("crashed", None)]

    def test_three_crashes_without_a_new_checkpoint_fail_the_job(
        self, trainer: TrainerFixture
    ) -> None:
        job_id = trainer.create_job(fault="crash", at_step=1)
        for _ in range(3):
            clear_retry_delay(trainer, job_id)
            assert trainer.runner.run_next()
        job = trainer.get_job(job_id)
        assert (job.state, job.error_code) == ("failed", "worker_crashed_repeatedly")
        assert attempt_outcomes(trainer, job_id) == [("crashed", 3), ("crashed", 3), ("failed", 3)]

    def test_a_second_crash_delays_the_retry(self, trainer: TrainerFixture) -> None:
        job_id = trainer.create_job(fault="crash", at_step=1)
        assert trainer.runner.run_next()
        assert trainer.runner.run_next(), "the first retry is immediate"
        job = trainer.get_job(job_id)
        assert job.state == "queued"
        with transaction(trainer.sessions) as session:
            tried = session.scalars(select(func.max(JobAttempt.ended_at))).one()
        assert job.run_after > tried + timedelta(seconds=4)

    def test_the_log_of_a_crashed_training_is_kept(self, trainer: TrainerFixture) -> None:
        job_id = trainer.create_job(fault="crash", at_step=1)
        trainer.runner.run_next()
        assert (trainer.context.settings.home / "failures" / f"{job_id}-attempt-1.log").exists()

    def test_a_full_disk_has_its_own_error_code(self, trainer: TrainerFixture) -> None:
        job_id = trainer.create_job(fault="disk_full", at_step=1)
        for _ in range(3):
            clear_retry_delay(trainer, job_id)
            trainer.runner.run_next()
        assert trainer.get_job(job_id).error_code == "disk_full"


class TestOrphans:
    def test_stale_run_folders_are_removed(self, trainer: TrainerFixture) -> None:
        job_id = trainer.create_job()
        with transaction(trainer.sessions) as session:
            session.execute(update(Job).values(state="running", attempt=2))
        runs = trainer.context.settings.home / "runs"
        for name in (
            f"{job_id}-attempt-1",
            f"{job_id}-attempt-2",
            "ftjob-unknown-attempt-1",
            f"{job_id}-e1",
            "something else",
        ):
            (runs / name).mkdir(parents=True)
        trainer.runner.clean_up()
        assert sorted(path.name for path in runs.iterdir()) == [
            f"{job_id}-attempt-2",
            "something else",
        ]


def test_the_training_process_gets_no_credentials(
    trainer: TrainerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "S3_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    job_id = trainer.create_job(fault="crash", at_step=1)
    trainer.runner.run_next()
    retained_log = (
        trainer.context.settings.home / "failures" / f"{job_id}-attempt-1.log"
    ).read_text()
    assert "'PATH'" in retained_log
    assert "SECRET" not in retained_log
    assert "_URL" not in retained_log
