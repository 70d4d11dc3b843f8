"""Attempts while the database or the store is away."""

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


class Line:
    """A connection to the database that can be cut."""

    def __init__(self) -> None:
        self.is_cut = False

    def refuse(self, *_: object) -> None:
        if self.is_cut:
            raise OperationalError("", None, ConnectionError("The line is cut."))


class Away(LocalStore):
    """A store that cannot be reached."""

    def __init__(self) -> None:
        super().__init__(Path("/nonexistent"))

    def download(self, key: str, path: Path) -> None:
        raise StorageUnavailable("It is away.")


class Flaky(LocalStore):
    """A store that cannot be written to while it is away."""

    is_away = True
    refused = False

    def upload(self, path: Path, key: str) -> None:
        if self.is_away:
            self.refused = True
            raise StorageUnavailable("It is away.")
        super().upload(path, key)


class TestOutages:
    def test_training_goes_on_while_the_database_is_away(
        self,
        machine: TrainerContext,
        shop: TrainerFixture,
        database_url: str,
        background: RunInBackground,
    ) -> None:
        engine = create_database_engine(database_url)
        line = Line()
        event.listen(engine, "before_cursor_execute", line.refuse)
        cut_off = JobRunner(replace(machine, sessions=session_maker(engine)))
        job_id = shop.create_job(steps=6, ending="waits", at=2)
        thread = background(cut_off.run_next)
        wait_until("it has begun", lambda: shop.get_job(job_id).total_steps)
        line.is_cut = True
        (run,) = (machine.settings.home / "runs").iterdir()
        (run / "go on").touch()
        wait_until("it is done", lambda: (run / "checkpoints" / "step-6").exists())
        line.is_cut = False
        thread.join()
        engine.dispose()
        assert shop.get_job(job_id).state == "succeeded"
        assert model_weights(shop, job_id) == final_weights(7, 6)
        assert [line for line in event_messages(shop, job_id) if line.startswith("Step")] == [
            f"Step {step}/6: training loss={4 / step:.2f}" for step in range(1, 7)
        ]

    def test_training_that_nobody_can_hear_of_ends_after_a_while(
        self,
        machine: TrainerContext,
        shop: TrainerFixture,
        database_url: str,
        background: RunInBackground,
    ) -> None:
        engine = create_database_engine(database_url)
        line = Line()
        event.listen(engine, "before_cursor_execute", line.refuse)
        # More than a busy machine makes the database wait for, and less than a test.
        hasty = machine.settings.model_copy(update={"disconnected_seconds": 4})
        cut_off = JobRunner(replace(machine, sessions=session_maker(engine), settings=hasty))
        job_id = shop.create_job(steps=6, ending="waits", at=2)
        thread = background(cut_off.run_next)
        wait_until("it has begun", lambda: shop.get_job(job_id).total_steps)
        line.is_cut = True
        thread.join()
        engine.dispose()
        assert list((machine.settings.home / "runs").iterdir()) == []
        # The lease says when another may have it.
        assert shop.get_job(job_id).state == "running"

    def test_a_job_waits_for_a_storage_that_is_away_when_it_starts(
        self, machine: TrainerContext, shop: TrainerFixture
    ) -> None:
        job_id = shop.create_job()
        JobRunner(replace(machine, store=Away())).run_next()
        assert (shop.get_job(job_id).state, shop.get_job(job_id).no_progress_attempts) == (
            "queued",
            0,
        )
        assert attempt_outcomes(shop, job_id) == [("postponed", None)]

    def test_checkpoints_wait_for_a_storage_that_comes_back(
        self, machine: TrainerContext, shop: TrainerFixture, background: RunInBackground
    ) -> None:
        job_id = shop.create_job(steps=4, every=2)
        store = Flaky(machine.settings.home / "storage")
        thread = background(JobRunner(replace(machine, store=store)).run_next)
        wait_until("the store has refused", lambda: store.refused)
        store.is_away = False
        thread.join()
        assert shop.get_job(job_id).state == "succeeded"
        assert model_weights(shop, job_id) == final_weights(7, 4)
