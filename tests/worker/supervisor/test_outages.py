"""Attempts during outages of the database or the storage."""

from dataclasses import replace
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from app.db.session import create_database_engine, session_maker
from app.storage import LocalStore, StorageUnavailable
from tests.polling import wait_until
from tests.worker.supervisor.fake_trainer import (
    RunInBackground,
    TrainerFixture,
    attempt_outcomes,
    event_messages,
    model_weights,
)
from tests.worker.supervisor.fake_training_process import final_weights
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.job_runner import JobRunner


class Connection:
    """A database connection that can be cut."""

    def __init__(self) -> None:
        self.is_cut = False

    def check(self, *_: object) -> None:
        if self.is_cut:
            raise OperationalError("", None, ConnectionError("The connection is cut."))


class UnavailableStore(LocalStore):
    """A storage that is unavailable."""

    def __init__(self) -> None:
        super().__init__(Path("/nonexistent"))

    def download(self, key: str, path: Path) -> None:
        raise StorageUnavailable("It is unavailable.")


class FlakyStore(LocalStore):
    """A storage that rejects writes while it is unavailable."""

    is_unavailable = True
    rejected = False

    def upload(self, path: Path, key: str) -> None:
        if self.is_unavailable:
            self.rejected = True
            raise StorageUnavailable("It is unavailable.")
        super().upload(path, key)


class TestOutages:
    def test_training_continues_during_a_database_outage(
        self,
        context: TrainerContext,
        trainer: TrainerFixture,
        database_url: str,
        run_in_background: RunInBackground,
    ) -> None:
        engine = create_database_engine(database_url)
        connection = Connection()
        event.listen(engine, "before_cursor_execute", connection.check)
        runner = JobRunner(replace(context, sessions=session_maker(engine)))
        job_id = trainer.create_job(steps=6, fault="wait", at_step=2)
        thread = run_in_background(runner.run_next)
        wait_until("training has started", lambda: trainer.get_job(job_id).total_steps)
        connection.is_cut = True
        (run,) = (context.settings.home / "runs").iterdir()
        (run / "continue").touch()
        wait_until("training is done", lambda: (run / "checkpoints" / "step-6").exists())
        connection.is_cut = False
        thread.join()
        engine.dispose()
        assert trainer.get_job(job_id).state == "succeeded"
        assert model_weights(trainer, job_id) == final_weights(7, 6)
        assert [line for line in event_messages(trainer, job_id) if line.startswith("Step")] == [
            f"Step {step}/6: training loss={4 / step:.2f}" for step in range(1, 7)
        ]

    def test_training_ends_after_a_long_database_outage(
        self,
        context: TrainerContext,
        trainer: TrainerFixture,
        database_url: str,
        run_in_background: RunInBackground,
    ) -> None:
        engine = create_database_engine(database_url)
        connection = Connection()
        event.listen(engine, "before_cursor_execute", connection.check)
        # Longer than a busy machine delays the database, and shorter than a test.
        settings = context.settings.model_copy(update={"database_outage_timeout_seconds": 4})
        runner = JobRunner(replace(context, sessions=session_maker(engine), settings=settings))
        job_id = trainer.create_job(steps=6, fault="wait", at_step=2)
        thread = run_in_background(runner.run_next)
        wait_until("training has started", lambda: trainer.get_job(job_id).total_steps)
        connection.is_cut = True
        thread.join()
        engine.dispose()
        assert list((context.settings.home / "runs").iterdir()) == []
        # Another trainer may acquire it when the lease expires.
        assert trainer.get_job(job_id).state == "running"

    def test_a_job_is_postponed_when_storage_is_unavailable_at_its_start(
        self, context: TrainerContext, trainer: TrainerFixture
    ) -> None:
        job_id = trainer.create_job()
        JobRunner(replace(context, store=UnavailableStore())).run_next()
        assert (trainer.get_job(job_id).state, trainer.get_job(job_id).no_progress_attempts) == (
            "queued",
            0,
        )
        assert attempt_outcomes(trainer, job_id) == [("postponed", None)]

    def test_checkpoint_uploads_are_retried_until_storage_is_back(
        self, context: TrainerContext, trainer: TrainerFixture, run_in_background: RunInBackground
    ) -> None:
        job_id = trainer.create_job(steps=4, every=2)
        store = FlakyStore(context.settings.home / "storage")
        thread = run_in_background(JobRunner(replace(context, store=store)).run_next)
        wait_until("an upload was rejected", lambda: store.rejected)
        store.is_unavailable = False
        thread.join()
        assert trainer.get_job(job_id).state == "succeeded"
        assert model_weights(trainer, job_id) == final_weights(7, 4)
