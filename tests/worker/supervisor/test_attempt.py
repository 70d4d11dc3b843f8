"""Attempts with real processes: however training ends, the job ends as the table of exits says."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, func, select, update
from sqlalchemy.exc import OperationalError

from app.db.models import (
    Checkpoint,
    File,
    Job,
    JobAttempt,
    JobEvent,
    JobLease,
    JobMetric,
    TunedModel,
    Usage,
)
from app.db.session import connect, session_maker, transaction
from app.services import lifecycle
from app.storage import LocalStore, StorageUnavailable, inside
from tests.waiting import wait_until
from tests.worker.supervisor.fake_training import advance, final_weights
from tests.worker.supervisor.shop import Workshop
from worker.supervisor.attempt import Machine
from worker.supervisor.runner import Supervisor


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


Background = Callable[[Callable[[], object]], threading.Thread]


def wait_for(condition: Callable[[], object]) -> None:
    wait_until("what the test waits for has come", condition)


def texts(shop: Workshop, job_id: str) -> list[str]:
    with transaction(shop.sessions) as session:
        rows = session.scalars(
            select(JobEvent.message).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
        )
        return list(rows)


def outcomes(shop: Workshop, job_id: str) -> list[tuple[str | None, int | None]]:
    with transaction(shop.sessions) as session:
        rows = session.execute(
            select(JobAttempt.outcome, JobAttempt.exit_code)
            .where(JobAttempt.job_id == job_id)
            .order_by(JobAttempt.epoch)
        )
        return [(row.outcome, row.exit_code) for row in rows]


def weights(shop: Workshop, job_id: str) -> bytes:
    """The adapter that the job's model is served from."""
    with transaction(shop.sessions) as session:
        name = session.get_one(Job, job_id).tuned_model
        prefix = session.get_one(TunedModel, name).storage_prefix
    return shop.store.get(inside(prefix, "adapter_model.safetensors"))


def at_once(shop: Workshop, job_id: str) -> None:
    """Spare the test the delay that a crash costs."""
    with transaction(shop.sessions) as session:
        session.execute(update(Job).where(Job.id == job_id).values(run_after=Job.created_at))


def has_steps(shop: Workshop, job_id: str) -> bool:
    with transaction(shop.sessions) as session:
        return (
            session.scalars(select(JobMetric.step).where(JobMetric.job_id == job_id)).first()
            is not None
        )


class TestSuccess:
    def test_a_job_becomes_a_model(self, shop: Workshop) -> None:
        job_id = shop.order(steps=6, every=2)
        assert shop.supervisor.run_next()
        job = shop.job(job_id)
        assert (job.state, job.trained_tokens, job.total_steps) == ("succeeded", 120, 6)
        assert job.resolved == {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.0}
        assert job.finished_at is not None
        assert job.estimated_finish is None
        assert weights(shop, job_id) == final_weights(7, 6)
        assert outcomes(shop, job_id) == [("done", 0)]

    def test_its_story_is_told_in_order(self, shop: Workshop) -> None:
        job_id = shop.order(steps=4, every=2)
        shop.supervisor.run_next()
        told = texts(shop, job_id)
        model = shop.job(job_id).tuned_model
        assert told[0] == "Fine-tuning job started"
        assert "Step 1/4: training loss=4.00" in told
        assert told[-2:] == [
            f"New fine-tuned model created: {model}",
            "The job has successfully completed",
        ]
        created = [line for line in told if line.startswith("Checkpoint created at step 2 with")]
        assert len(created) == 1
        assert told.index("Step 2/4: training loss=2.00") < told.index(created[0])

    def test_its_checkpoints_are_models_and_the_last_is_the_model(self, shop: Workshop) -> None:
        job_id = shop.order(steps=6, every=2)
        shop.supervisor.run_next()
        with transaction(shop.sessions) as session:
            rows = session.scalars(
                select(Checkpoint)
                .where(Checkpoint.job_id == job_id, Checkpoint.kind == "user")
                .order_by(Checkpoint.step)
            ).all()
            models = {row.name: row.step for row in session.scalars(select(TunedModel))}
        assert [row.step for row in rows] == [2, 4, 6]
        assert rows[-1].model_name == shop.job(job_id).tuned_model
        assert models == {row.model_name: row.step if row.step < 6 else None for row in rows}

    def test_its_results_are_a_csv_file(self, shop: Workshop) -> None:
        job_id = shop.order(steps=3, every=3)
        shop.supervisor.run_next()
        with transaction(shop.sessions) as session:
            file = session.get_one(File, shop.job(job_id).result_file_id)
        content = shop.store.get(file.storage_key)
        assert (file.purpose, file.filename, file.bytes) == (
            "fine-tune-results",
            "step_metrics.csv",
            len(content),
        )
        header, first, *_ = content.decode().splitlines()
        assert header == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
        assert first == "1,4.0,0.5,,"

    def test_one_usage_row_and_no_folder_and_no_lease_are_left(self, shop: Workshop) -> None:
        job_id = shop.order()
        shop.supervisor.run_next()
        with transaction(shop.sessions) as session:
            assert session.get_one(Usage, job_id).trained_tokens == 120
            assert session.get(JobLease, job_id) is None
        assert list((shop.machine.settings.home / "runs").iterdir()) == []

    def test_nothing_queued_is_nothing_done(self, shop: Workshop) -> None:
        assert not shop.supervisor.run_next()


class TestFailure:
    def test_what_the_user_can_mend_fails_at_once(self, shop: Workshop) -> None:
        job_id = shop.order(ending="user_error", at=3)
        shop.supervisor.run_next()
        job = shop.job(job_id)
        assert (job.state, job.error_code, job.error_message, job.error_param) == (
            "failed",
            "invalid_training_file",
            "Bad.",
            "training_file",
        )
        assert outcomes(shop, job_id) == [("failed", 10)]
        assert texts(shop, job_id)[-1] == "Bad."

    def test_a_loss_that_is_no_number_fails_at_once(self, shop: Workshop) -> None:
        job_id = shop.order(ending="loss_not_finite", at=2)
        shop.supervisor.run_next()
        job = shop.job(job_id)
        assert (job.state, job.error_code) == ("failed", "loss_not_finite")

    def test_a_deleted_file_fails_the_job(self, shop: Workshop) -> None:
        job_id = shop.order()
        with transaction(shop.sessions) as session:
            file = session.get_one(File, shop.job(job_id).training_file_id)
        shop.store.delete(file.storage_key)
        shop.supervisor.run_next()
        job = shop.job(job_id)
        assert (job.state, job.error_code) == ("failed", "invalid_training_file")
        assert job.error_message is not None
        assert "was deleted" in job.error_message

    def test_a_damaged_file_is_not_trained_on(self, shop: Workshop) -> None:
        job_id = shop.order()
        with transaction(shop.sessions) as session:
            file = session.get_one(File, shop.job(job_id).training_file_id)
        shop.store.put(file.storage_key, b"other bytes")
        shop.supervisor.run_next()
        assert shop.job(job_id).state == "queued"
        assert outcomes(shop, job_id) == [("crashed", None)]

    def test_three_crashes_without_a_new_checkpoint_are_the_end(self, shop: Workshop) -> None:
        job_id = shop.order(ending="crash", at=1)
        for _ in range(3):
            at_once(shop, job_id)
            assert shop.supervisor.run_next()
        job = shop.job(job_id)
        assert (job.state, job.error_code) == ("failed", "worker_crashed_repeatedly")
        assert outcomes(shop, job_id) == [("crashed", 3), ("crashed", 3), ("failed", 3)]

    def test_a_job_that_crashed_twice_waits_before_it_is_tried_again(self, shop: Workshop) -> None:
        job_id = shop.order(ending="crash", at=1)
        assert shop.supervisor.run_next()
        assert shop.supervisor.run_next(), "most crashes are the machine's and happen once"
        job = shop.job(job_id)
        assert job.state == "queued"
        with transaction(shop.sessions) as session:
            tried = session.scalars(select(func.max(JobAttempt.ended_at))).one()
        assert job.run_after > tried + timedelta(seconds=4)

    def test_what_a_crashed_training_printed_is_kept(self, shop: Workshop) -> None:
        job_id = shop.order(ending="crash", at=1)
        shop.supervisor.run_next()
        assert (shop.machine.settings.home / "failures" / f"{job_id}-e1.log").exists()

    def test_a_full_disk_has_a_name(self, shop: Workshop) -> None:
        job_id = shop.order(ending="disk_full", at=1)
        for _ in range(3):
            at_once(shop, job_id)
            shop.supervisor.run_next()
        assert shop.job(job_id).error_code == "disk_full"


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


class TestStopping:
    def test_a_drained_worker_gives_the_job_back_and_loses_nothing(
        self, shop: Workshop, background: Background
    ) -> None:
        job_id = shop.order(steps=8, every=100, ending="waits", at=3, until=1)
        thread = background(shop.supervisor.run_next)
        wait_for(lambda: has_steps(shop, job_id))
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
        wait_for(lambda: has_steps(shop, job_id))
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
        wait_for(lambda: has_steps(shop, job_id))
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
        wait_for(lambda: has_steps(shop, job_id))
        with transaction(shop.sessions) as session:
            session.execute(update(Job).where(Job.id == job_id).values(epoch=Job.epoch + 1))
        thread.join()
        assert shop.job(job_id).state == "running"
        assert outcomes(shop, job_id) == [(None, None)]


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


class TestOutages:
    def test_training_goes_on_while_the_database_is_away(
        self, machine: Machine, shop: Workshop, database_url: str, background: Background
    ) -> None:
        engine = connect(database_url)
        line = Line()
        event.listen(engine, "before_cursor_execute", line.refuse)
        cut_off = Supervisor(replace(machine, sessions=session_maker(engine)))
        job_id = shop.order(steps=6, ending="waits", at=2)
        thread = background(cut_off.run_next)
        wait_for(lambda: shop.job(job_id).total_steps)
        line.is_cut = True
        (run,) = (machine.settings.home / "runs").iterdir()
        (run / "go on").touch()
        wait_for(lambda: (run / "checkpoints" / "step-6").exists())
        line.is_cut = False
        thread.join()
        engine.dispose()
        assert shop.job(job_id).state == "succeeded"
        assert weights(shop, job_id) == final_weights(7, 6)
        assert [line for line in texts(shop, job_id) if line.startswith("Step")] == [
            f"Step {step}/6: training loss={4 / step:.2f}" for step in range(1, 7)
        ]

    def test_training_that_nobody_can_hear_of_ends_after_a_while(
        self, machine: Machine, shop: Workshop, database_url: str, background: Background
    ) -> None:
        engine = connect(database_url)
        line = Line()
        event.listen(engine, "before_cursor_execute", line.refuse)
        # More than a busy machine makes the database wait for, and less than a test.
        hasty = machine.settings.model_copy(update={"disconnected_seconds": 4})
        cut_off = Supervisor(replace(machine, sessions=session_maker(engine), settings=hasty))
        job_id = shop.order(steps=6, ending="waits", at=2)
        thread = background(cut_off.run_next)
        wait_for(lambda: shop.job(job_id).total_steps)
        line.is_cut = True
        thread.join()
        engine.dispose()
        assert list((machine.settings.home / "runs").iterdir()) == []
        # The lease says when another may have it.
        assert shop.job(job_id).state == "running"

    def test_a_job_waits_for_a_storage_that_is_away_when_it_starts(
        self, machine: Machine, shop: Workshop
    ) -> None:
        job_id = shop.order()
        Supervisor(replace(machine, store=Away())).run_next()
        assert (shop.job(job_id).state, shop.job(job_id).no_progress_attempts) == ("queued", 0)
        assert outcomes(shop, job_id) == [("postponed", None)]

    def test_checkpoints_wait_for_a_storage_that_comes_back(
        self, machine: Machine, shop: Workshop, background: Background
    ) -> None:
        job_id = shop.order(steps=4, every=2)
        store = Flaky(machine.settings.home / "storage")
        thread = background(Supervisor(replace(machine, store=store)).run_next)
        wait_for(lambda: store.refused)
        store.is_away = False
        thread.join()
        assert shop.job(job_id).state == "succeeded"
        assert weights(shop, job_id) == final_weights(7, 4)


class TestOrphans:
    def test_folders_of_attempts_that_are_over_are_removed(self, shop: Workshop) -> None:
        job_id = shop.order()
        with transaction(shop.sessions) as session:
            session.execute(update(Job).values(state="running", epoch=2))
        runs = shop.machine.settings.home / "runs"
        for name in (f"{job_id}-e1", f"{job_id}-e2", "ftjob-unknown-e1", "something else"):
            (runs / name).mkdir(parents=True)
        shop.supervisor.sweep()
        assert sorted(path.name for path in runs.iterdir()) == [f"{job_id}-e2", "something else"]


def test_the_training_process_gets_no_credentials(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "S3_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    job_id = shop.order(ending="crash", at=1)
    shop.supervisor.run_next()
    known = (shop.machine.settings.home / "failures" / f"{job_id}-e1.log").read_text()
    assert "'PATH'" in known
    assert "SECRET" not in known
    assert "_URL" not in known
