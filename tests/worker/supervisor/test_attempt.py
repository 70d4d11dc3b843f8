"""Attempts with real processes: however training ends, the job ends as the table of exits says."""

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
    def test_a_job_becomes_a_model(self, shop: TrainerFixture) -> None:
        job_id = shop.create_job(steps=6, every=2)
        assert shop.runner.run_next()
        job = shop.get_job(job_id)
        assert (job.state, job.trained_tokens, job.total_steps) == ("succeeded", 120, 6)
        assert job.resolved == {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.0}
        assert job.finished_at is not None
        assert job.estimated_finish is None
        assert model_weights(shop, job_id) == final_weights(7, 6)
        assert attempt_outcomes(shop, job_id) == [("done", 0)]

    def test_its_story_is_told_in_order(self, shop: TrainerFixture) -> None:
        job_id = shop.create_job(steps=4, every=2)
        shop.runner.run_next()
        told = event_messages(shop, job_id)
        model = shop.get_job(job_id).tuned_model
        assert told[0] == "Fine-tuning job started"
        assert "Step 1/4: training loss=4.00" in told
        assert told[-2:] == [
            f"New fine-tuned model created: {model}",
            "The job has successfully completed",
        ]
        created = [line for line in told if line.startswith("Checkpoint created at step 2 with")]
        assert len(created) == 1
        assert told.index("Step 2/4: training loss=2.00") < told.index(created[0])

    def test_its_checkpoints_are_models_and_the_last_is_the_model(
        self, shop: TrainerFixture
    ) -> None:
        job_id = shop.create_job(steps=6, every=2)
        shop.runner.run_next()
        with transaction(shop.sessions) as session:
            rows = session.scalars(
                select(Checkpoint)
                .where(Checkpoint.job_id == job_id, Checkpoint.kind == "user")
                .order_by(Checkpoint.step)
            ).all()
            models = {row.name: row.step for row in session.scalars(select(FineTunedModel))}
        assert [row.step for row in rows] == [2, 4, 6]
        assert rows[-1].model_name == shop.get_job(job_id).tuned_model
        assert models == {row.model_name: row.step if row.step < 6 else None for row in rows}

    def test_its_results_are_a_csv_file(self, shop: TrainerFixture) -> None:
        job_id = shop.create_job(steps=3, every=3)
        shop.runner.run_next()
        with transaction(shop.sessions) as session:
            file = session.get_one(File, shop.get_job(job_id).result_file_id)
        content = shop.store.get(file.storage_key)
        assert (file.purpose, file.filename, file.bytes) == (
            "fine-tune-results",
            "step_metrics.csv",
            len(content),
        )
        header, first, *_ = content.decode().splitlines()
        assert header == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
        assert first == "1,4.0,0.5,,"

    def test_one_usage_row_and_no_folder_and_no_lease_are_left(self, shop: TrainerFixture) -> None:
        job_id = shop.create_job()
        shop.runner.run_next()
        with transaction(shop.sessions) as session:
            assert session.get_one(TrainingUsage, job_id).trained_tokens == 120
            assert session.get(JobLease, job_id) is None
        assert list((shop.context.settings.home / "runs").iterdir()) == []

    def test_nothing_queued_is_nothing_done(self, shop: TrainerFixture) -> None:
        assert not shop.runner.run_next()


class TestFailure:
    def test_what_the_user_can_mend_fails_at_once(self, shop: TrainerFixture) -> None:
        job_id = shop.create_job(ending="user_error", at=3)
        shop.runner.run_next()
        job = shop.get_job(job_id)
        assert (job.state, job.error_code, job.error_message, job.error_param) == (
            "failed",
            "invalid_training_file",
            "Bad.",
            "training_file",
        )
        assert attempt_outcomes(shop, job_id) == [("failed", 10)]
        assert event_messages(shop, job_id)[-1] == "Bad."

    def test_a_loss_that_is_no_number_fails_at_once(self, shop: TrainerFixture) -> None:
        job_id = shop.create_job(ending="loss_not_finite", at=2)
        shop.runner.run_next()
        job = shop.get_job(job_id)
        assert (job.state, job.error_code) == ("failed", "loss_not_finite")

    def test_a_deleted_file_fails_the_job(self, shop: TrainerFixture) -> None:
        job_id = shop.create_job()
        with transaction(shop.sessions) as session:
            file = session.get_one(File, shop.get_job(job_id).training_file_id)
        shop.store.delete(file.storage_key)
        shop.runner.run_next()
        job = shop.get_job(job_id)
        assert (job.state, job.error_code) == ("failed", "invalid_training_file")
        assert job.error_message is not None
        assert "was deleted" in job.error_message

    def test_a_damaged_file_is_not_trained_on(self, shop: TrainerFixture) -> None:
        job_id = shop.create_job()
        with transaction(shop.sessions) as session:
            file = session.get_one(File, shop.get_job(job_id).training_file_id)
        shop.store.put(file.storage_key, b"other bytes")
        shop.runner.run_next()
        assert shop.get_job(job_id).state == "queued"
        assert attempt_outcomes(shop, job_id) == [("crashed", None)]

    def test_three_crashes_without_a_new_checkpoint_are_the_end(self, shop: TrainerFixture) -> None:
        job_id = shop.create_job(ending="crash", at=1)
        for _ in range(3):
            clear_retry_delay(shop, job_id)
            assert shop.runner.run_next()
        job = shop.get_job(job_id)
        assert (job.state, job.error_code) == ("failed", "worker_crashed_repeatedly")
        assert attempt_outcomes(shop, job_id) == [("crashed", 3), ("crashed", 3), ("failed", 3)]

    def test_a_job_that_crashed_twice_waits_before_it_is_tried_again(
        self, shop: TrainerFixture
    ) -> None:
        job_id = shop.create_job(ending="crash", at=1)
        assert shop.runner.run_next()
        assert shop.runner.run_next(), "most crashes are the machine's and happen once"
        job = shop.get_job(job_id)
        assert job.state == "queued"
        with transaction(shop.sessions) as session:
            tried = session.scalars(select(func.max(JobAttempt.ended_at))).one()
        assert job.run_after > tried + timedelta(seconds=4)

    def test_what_a_crashed_training_printed_is_kept(self, shop: TrainerFixture) -> None:
        job_id = shop.create_job(ending="crash", at=1)
        shop.runner.run_next()
        assert (shop.context.settings.home / "failures" / f"{job_id}-e1.log").exists()

    def test_a_full_disk_has_a_name(self, shop: TrainerFixture) -> None:
        job_id = shop.create_job(ending="disk_full", at=1)
        for _ in range(3):
            clear_retry_delay(shop, job_id)
            shop.runner.run_next()
        assert shop.get_job(job_id).error_code == "disk_full"


class TestOrphans:
    def test_folders_of_attempts_that_are_over_are_removed(self, shop: TrainerFixture) -> None:
        job_id = shop.create_job()
        with transaction(shop.sessions) as session:
            session.execute(update(Job).values(state="running", epoch=2))
        runs = shop.context.settings.home / "runs"
        for name in (f"{job_id}-e1", f"{job_id}-e2", "ftjob-unknown-e1", "something else"):
            (runs / name).mkdir(parents=True)
        shop.runner.clean_up()
        assert sorted(path.name for path in runs.iterdir()) == [f"{job_id}-e2", "something else"]


def test_the_training_process_gets_no_credentials(
    shop: TrainerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "S3_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    job_id = shop.create_job(ending="crash", at=1)
    shop.runner.run_next()
    known = (shop.context.settings.home / "failures" / f"{job_id}-e1.log").read_text()
    assert "'PATH'" in known
    assert "SECRET" not in known
    assert "_URL" not in known
