"""Advance of sweeps: jobs that end in any way, quotas, archived projects."""

from itertools import pairwise

from sqlalchemy import delete, text, update

from app.db import clock
from app.db.session import transaction
from app.db.tables import (
    File,
    Job,
    JobEvent,
    JobMetadata,
    Project,
    Sweep,
    SweepTrial,
    TrialState,
)
from app.jobs import lifecycle
from app.jobs.job_rules import JobRules
from app.models import deletion
from app.operations.reconciler import Reconciler
from app.organization import projects
from app.sweeps import advance
from app.sweeps import lifecycle as sweeps
from tests.app.sweeps.desk import RULES, Desk, desk, of_one, rate

__all__ = ["desk"]


class TestResult:
    def test_the_best_is_named_and_why(self, desk: Desk) -> None:
        sweep_id = desk.create()
        assert desk.train(lambda job: None if rate(job) == 4 else abs(rate(job) - 1) + 0.25) == 4
        desk.advance(sweep_id)
        sweep, trials = desk.sweep(sweep_id), desk.trials(sweep_id)
        assert (sweep.state, sweep.error_message) == ("succeeded", None)
        assert [trial.value for trial in trials] == [0.75, 0.25, 1.25, None]
        assert trials[1].fine_tuned_model is not None
        assert desk.events(sweep_id)[-1] == (
            f"The best is trial 1, {trials[1].fine_tuned_model}: valid_loss 0.25, lowest of 3 "
            "finished trials; 1 failed"
        )

    def test_if_all_fail_the_sweep_fails(self, desk: Desk) -> None:
        sweep_id = desk.create()
        desk.train(lambda job: None)
        desk.advance(sweep_id)
        sweep = desk.sweep(sweep_id)
        assert sweep.state == "failed"
        assert sweep.error_message == (
            "No trial has finished with valid_loss: 4 failed. The first reason: It is bad."
        )
        assert desk.events(sweep_id)[-1] == sweep.error_message

    def test_jobs_and_models_that_their_owner_removed_do_not_count(self, desk: Desk) -> None:
        sweep_id = desk.create()
        first, second, third, _ = desk.trials(sweep_id)
        with transaction(desk.sessions) as session:
            lifecycle.cancel(session, desk.project_id, first.job_id or "")
        desk.train(rate)
        with transaction(desk.sessions) as session:
            model = session.get_one(Job, second.job_id).fine_tuned_model
            deletion.delete(session, RULES.catalog, desk.project_id, model or "")
            # As retention does.
            session.execute(delete(JobEvent).where(JobEvent.job_id == third.job_id))
            session.execute(delete(JobMetadata).where(JobMetadata.job_id == third.job_id))
            for table in ("job_attempts", "checkpoints", "fine_tuned_models", "training_usage"):
                session.execute(text(f"DELETE FROM {table} WHERE job_id = '{third.job_id}'"))
            session.execute(delete(Job).where(Job.id == third.job_id))
        desk.advance(sweep_id)
        states = [trial.state for trial in desk.trials(sweep_id)]
        assert states == ["cancelled", "deleted", "deleted", "succeeded"]
        assert desk.events(sweep_id)[-1].endswith(
            "valid_loss 4, the only finished trial; 1 cancelled, 2 deleted"
        )

    def test_a_cancelled_sweep_keeps_the_results_that_it_has_not_recorded_yet(
        self, desk: Desk
    ) -> None:
        sweep_id = desk.create()
        paused = desk.trials(sweep_id)[0].job_id or ""
        with transaction(desk.sessions) as session:
            lifecycle.validate(session, paused)
            lifecycle.pause(session, desk.project_id, paused)
        desk.train(rate)
        with transaction(desk.sessions) as session:
            sweeps.cancel(session, desk.project_id, sweep_id)
        trials = desk.trials(sweep_id)
        assert [trial.state for trial in trials] == ["cancelled", *["succeeded"] * 3]
        assert [trial.value for trial in trials] == [None, 1, 2, 4]

    def test_a_request_that_is_no_longer_valid_ends_its_trial(self, desk: Desk) -> None:
        sweep_id = desk.create()
        desk.train(rate)
        with transaction(desk.sessions) as session:
            last = session.get_one(SweepTrial, (sweep_id, 3))
            last.state, last.job_id = TrialState.PENDING, None
            # As if an earlier version had allowed it.
            sweep = session.get_one(Sweep, sweep_id)
            sweep.job = sweep.job | {"seed": -1}
        desk.advance(sweep_id)
        trial = desk.trials(sweep_id)[3]
        assert trial.state == "failed"
        assert (trial.error_message or "").startswith("Its request is no longer valid: ")
        assert desk.sweep(sweep_id).state == "succeeded"

    def test_a_job_without_the_metric_is_no_best(self, desk: Desk) -> None:
        sweep_id = desk.create(metric="valid_mean_token_accuracy")
        desk.train(rate)
        desk.advance(sweep_id)
        error = desk.sweep(sweep_id).error_message
        assert (
            error == "No trial has finished with valid_mean_token_accuracy: 4 without the metric."
        )

    def test_a_paused_job_keeps_the_sweep_running(self, desk: Desk) -> None:
        sweep_id = desk.create()
        paused = desk.trials(sweep_id)[0].job_id or ""
        with transaction(desk.sessions) as session:
            lifecycle.validate(session, paused)
            lifecycle.pause(session, desk.project_id, paused)
        desk.train(rate)
        desk.advance(sweep_id)
        assert desk.sweep(sweep_id).state == "running"
        with transaction(desk.sessions) as session:
            lifecycle.resume(session, desk.project_id, paused)
        desk.train(rate)
        desk.advance(sweep_id)
        assert desk.sweep(sweep_id).state == "succeeded"


class TestHalving:
    def test_the_better_third_is_trained_for_longer(self, desk: Desk) -> None:
        sweep_id = desk.create(
            strategy="halving",
            max_jobs=13,
            n_epochs=9,
            space={"learning_rate_multiplier": {"min": 0.1, "max": 10, "scale": "log"}},
        )
        epochs: list[int] = []

        def loss(job: Job) -> float:
            epochs.append(job.hyperparameters["n_epochs"])
            return abs(rate(job) - 1) + 1 / epochs[-1]

        while desk.sweep(sweep_id).state == "running":
            assert desk.train(loss) > 0, "the sweep waits for nothing"
            desk.advance(sweep_id)
        assert epochs == [1] * 9 + [3] * 3 + [9]
        trials = desk.trials(sweep_id)
        by_rung = [[t for t in trials if t.rung == rung] for rung in range(3)]
        for rung, following in pairwise(by_rung):
            ranked = sorted(rung, key=lambda trial: trial.value or 0)
            rates = [t.hyperparameters["learning_rate_multiplier"] for t in ranked]
            chosen = [t.hyperparameters["learning_rate_multiplier"] for t in following]
            assert chosen == rates[: len(following)]
        assert desk.events(sweep_id)[-1].startswith("The best is trial 12, ")
        assert "lowest of 13 finished trials" in desk.events(sweep_id)[-1]

    def test_fewer_survive_if_most_fail(self, desk: Desk) -> None:
        sweep_id = desk.create(
            strategy="halving",
            max_jobs=12,
            n_epochs=3,
            space={"lora_rank": {"min": 1, "max": 200}},
        )
        first = desk.trials(sweep_id)[0].hyperparameters["lora_rank"]
        while desk.sweep(sweep_id).state == "running":
            desk.train(lambda job: 1.0 if job.hyperparameters["lora_rank"] == first else None)
            desk.advance(sweep_id)
        trials = desk.trials(sweep_id)
        assert [trial.rung for trial in trials] == [0] * 9 + [1]
        assert trials[9].hyperparameters == {"lora_rank": first, "n_epochs": 3}


class TestQuota:
    def test_it_waits_for_room_in_the_queue_and_goes_on(self, desk: Desk) -> None:
        narrow = JobRules(catalog=RULES.catalog, wandb_policy=RULES.wandb_policy, max_queued=1)
        sweep_id = desk.create(narrow)
        for done in range(1, 5):
            for _ in range(2):
                desk.advance(sweep_id, narrow)
            assert desk.jobs() == done
            desk.train(rate)
        desk.advance(sweep_id, narrow)
        assert desk.sweep(sweep_id).state == "succeeded"
        assert desk.events(sweep_id).count(advance.WAITING_MESSAGE) == 3, "once per wait"

    def test_no_sweep_fills_the_queue(self, desk: Desk) -> None:
        space = {"lora_rank": {"values": list(range(1, 11))}}
        sweep_id = desk.create(space=space)
        for _ in range(3):
            desk.advance(sweep_id)
        assert desk.jobs() == advance.MAX_WAITING_JOBS
        with transaction(desk.sessions) as session:
            assert advance.find_due(session) == []
        desk.train(of_one)
        with transaction(desk.sessions) as session:
            assert advance.find_due(session) == [sweep_id]

    def test_a_job_that_can_no_longer_be_created_is_a_failed_trial(self, desk: Desk) -> None:
        space = {"lora_rank": {"values": list(range(1, 7))}}
        sweep_id = desk.create(space=space)
        with transaction(desk.sessions) as session:
            expired = {"expires_at": clock.seconds_from_now(-1)}
            session.execute(update(File).where(File.id == desk.files[1]).values(expired))
        desk.train(of_one)
        desk.advance(sweep_id)
        trials = desk.trials(sweep_id)
        assert [trial.state for trial in trials] == ["succeeded"] * 4 + ["failed"] * 2
        assert "does not exist" in (trials[5].error_message or "")
        assert desk.sweep(sweep_id).state == "succeeded"


def test_archiving_a_project_cancels_its_sweeps(desk: Desk) -> None:
    sweep_id = desk.create()
    with transaction(desk.sessions) as session:
        organization_id = session.get_one(Project, desk.project_id).organization_id
        projects.archive(session, organization_id, desk.project_id)
    assert desk.sweep(sweep_id).state == "cancelled"
    assert desk.train(rate) == 0


def test_a_sweep_of_a_project_archived_by_an_earlier_version_ends(desk: Desk) -> None:
    sweep_id = desk.create(space={"lora_rank": {"values": list(range(1, 7))}})
    with transaction(desk.sessions) as session:
        session.get_one(Project, desk.project_id).archived_at = clock.now(session)
    desk.advance(sweep_id)
    assert desk.sweep(sweep_id).state == "cancelled"


def test_the_reconciler_advances_sweeps(desk: Desk) -> None:
    sweep_id = desk.create()
    desk.train(rate)
    assert Reconciler(desk.sessions, grace_period_seconds=0, job_rules=RULES).run()
    assert desk.sweep(sweep_id).state == "succeeded"
