"""Random lives of jobs, walked in Postgres and in a small model of it side by side.

Workers in it never give up: also those whose job has long been another's go on reporting.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select, text

from app.db.session import SessionMaker, TransactionWork, transaction
from app.db.tables import (
    TERMINAL_STATES,
    FineTunedModel,
    Job,
    JobAttempt,
    JobEvent,
    JobLease,
    Outbox,
    TrainingUsage,
)
from app.errors import InvalidRequest
from app.jobs import attempts, checkpoints, leases, lifecycle, progress, success
from app.jobs.checkpoints import StoredCheckpoint
from app.jobs.file_checks import JobFailure
from app.jobs.leases import JobAssignment, WorkerDirective
from app.jobs.progress import StepMetrics
from app.jobs.states import LeaseLost
from app.jobs.success import NoFinalCheckpoint, ResultFile
from tests.factories import make_file, make_job, make_project

STEPS = 3
HELD = ("running", "pausing", "finalizing")


@dataclass
class Model:
    """What a job should be."""

    state: str = "validating_files"
    good: bool = True
    epoch: int = 0
    due: bool = True
    crashes: int = 0
    stored: set[int] = field(default_factory=set)
    ends: int = 0

    def become(self, state: str) -> None:
        self.state = state
        self.ends += state in TERMINAL_STATES

    def is_held_at(self, epoch: int) -> bool:
        return self.state in HELD and self.epoch == epoch

    def give_back(self, *, due: bool) -> None:
        if self.state == "pausing":
            self.become("paused")
        else:
            self.become("queued")
            self.due = due

    def crash(self, *, due: bool) -> None:
        if self.crashes + 1 >= attempts.MAX_ATTEMPTS_WITHOUT_PROGRESS:
            self.become("failed")
        else:
            self.crashes += 1
            self.give_back(due=due)


class Lives(RuleBasedStateMachine):
    jobs: Bundle[str] = Bundle("jobs")
    held: Bundle[JobAssignment] = Bundle("held")

    def __init__(self, sessions: SessionMaker) -> None:
        super().__init__()
        self.sessions = sessions
        self.models: dict[str, Model] = {}

    @initialize()
    def open(self) -> None:
        with transaction(self.sessions) as session:
            self.project = make_project(session)

    @rule(target=jobs, good=st.sampled_from([True, True, True, False]))
    def create(self, good: bool) -> str:
        with transaction(self.sessions) as session:
            file = make_file(session, self.project, examples=12 if good else 3)
            job = make_job(
                session, self.project, state="validating_files", training_file_id=file.id
            )
            lifecycle.announce_created(session, job)
        self.models[job.id] = Model(good=good)
        return job.id

    @rule(job=jobs)
    def validate(self, job: str) -> None:
        self.do(lambda session: lifecycle.validate(session, job))
        model = self.models[job]
        if model.state == "validating_files":
            model.become("queued" if model.good else "failed")

    @rule(target=held)
    def claim(self) -> object:
        with transaction(self.sessions) as session:
            claim = leases.acquire(session, "worker", lease_seconds=60)
        due = {job for job, m in self.models.items() if m.state == "queued" and m.due}
        if claim is None:
            assert due == set()
            return multiple()
        assert claim.job_id in due
        model = self.models[claim.job_id]
        model.become("running")
        model.epoch += 1
        assert claim.attempt == model.epoch
        self.report(
            claim,
            lambda session: progress.record_started(
                session,
                claim.job_id,
                claim.attempt,
                hyperparameters={"batch_size": 4},
                total_steps=STEPS,
            ),
        )
        return claim

    @rule(claim=held)
    def heartbeat(self, claim: JobAssignment) -> None:
        with transaction(self.sessions) as session:
            order = leases.heartbeat(session, claim.job_id, claim.attempt, step=1, lease_seconds=60)
        assert order == self.expected_order(claim)

    def expected_order(self, claim: JobAssignment) -> WorkerDirective:
        model = self.models[claim.job_id]
        if model.state == "cancelled":
            return WorkerDirective.CANCEL
        if not model.is_held_at(claim.attempt):
            return WorkerDirective.LEASE_LOST
        return WorkerDirective.PAUSE if model.state == "pausing" else WorkerDirective.CONTINUE

    @rule(claim=held, step=st.integers(1, STEPS))
    def tell_metrics(self, claim: JobAssignment, step: int) -> None:
        steps = [StepMetrics(step, {"train_loss": 1 / step})]
        self.report(
            claim,
            lambda session: progress.record_metrics(session, claim.job_id, claim.attempt, steps),
        )

    @rule(claim=held, step=st.integers(1, STEPS))
    def store_checkpoint(self, claim: JobAssignment, step: int) -> None:
        stored = StoredCheckpoint(
            step=step,
            servable=True,
            prefix=f"jobs/{claim.job_id}/e{claim.attempt}/step-{step}",
            manifest_sha256="",
            bytes=1,
            metrics={},
        )
        if self.report(
            claim, lambda session: checkpoints.record(session, claim.job_id, claim.attempt, stored)
        ):
            self.models[claim.job_id].crashes = 0
            self.models[claim.job_id].stored.add(step)

    @rule(claim=held)
    def finalize(self, claim: JobAssignment) -> None:
        if self.report(
            claim, lambda session: success.finalize(session, claim.job_id, claim.attempt)
        ):
            self.models[claim.job_id].state = "finalizing"

    @rule(claim=held)
    def succeed(self, claim: JobAssignment) -> None:
        model = self.models[claim.job_id]
        result = ResultFile(
            file_id=f"file-{claim.job_id}-{claim.attempt}", key="k", bytes=1, sha256=""
        )
        ready = model.state == "finalizing" and STEPS in model.stored
        done = self.report(
            claim,
            lambda session: success.succeed(
                session, claim.job_id, claim.attempt, trained_tokens=9, result=result
            ),
            legal=ready,
        )
        if done:
            model.become("succeeded")

    @rule(claim=held)
    def finish(self, claim: JobAssignment) -> None:
        """All that training to the end comes to, which single dice would seldom throw in a row."""
        self.store_checkpoint(claim=claim, step=STEPS)
        self.finalize(claim=claim)
        self.succeed(claim=claim)

    @rule(claim=held)
    def crash(self, claim: JobAssignment) -> None:
        if self.report(
            claim,
            lambda session: attempts.record_crash(
                session, claim.job_id, claim.attempt, reason="It crashed."
            ),
        ):
            # The first time it is tried again at once.
            model = self.models[claim.job_id]
            model.crash(due=model.crashes == 0)

    @rule(claim=held)
    def yield_(self, claim: JobAssignment) -> None:
        if self.report(
            claim, lambda session: attempts.yield_job(session, claim.job_id, claim.attempt)
        ):
            self.models[claim.job_id].give_back(due=True)

    @rule(claim=consumes(held))
    def fail(self, claim: JobAssignment) -> None:
        problem = JobFailure("bad", "It is bad.")
        if self.report(
            claim, lambda session: attempts.fail(session, claim.job_id, claim.attempt, problem)
        ):
            self.models[claim.job_id].become("failed")

    @rule(job=jobs)
    def fall_silent(self, job: str) -> None:
        """Its worker is not heard of for longer than a lease."""
        late = text(
            "UPDATE job_leases SET lease_until = clock_timestamp() - interval '1 s' "
            "WHERE job_id = :id"
        )
        self.do(lambda session: session.execute(late, {"id": job}))
        with transaction(self.sessions) as session:
            silent = attempts.find_expired_leases(session)
        assert silent == ([job] if self.models[job].state in HELD else [])
        for late_job in silent:
            self.do(lambda session, late_job=late_job: attempts.expire_lease(session, late_job))
        if self.models[job].state in HELD:
            self.models[job].crash(due=True)

    @rule(target=held, claim=held)
    def outlive(self, claim: JobAssignment) -> object:
        """Another may take over a job, and the worker that had it tells of one more step."""
        self.fall_silent(claim.job_id)
        following = self.claim()
        self.tell_metrics(claim=claim, step=1)
        return following

    @rule()
    def wait(self) -> None:
        """The pause after a crash passes."""
        self.do(
            lambda session: session.execute(
                text("UPDATE jobs SET run_after = clock_timestamp() WHERE state = 'queued'")
            )
        )
        for model in self.models.values():
            model.due = True

    @rule(job=jobs)
    def pause(self, job: str) -> None:
        model = self.models[job]
        legal = ("queued", "running", "pausing", "paused")
        if self.ask(lifecycle.pause, job, legal=model.state in legal):
            following = {"queued": "paused", "running": "pausing"}
            model.state = following.get(model.state, model.state)

    @rule(job=jobs)
    def resume(self, job: str) -> None:
        model = self.models[job]
        if self.ask(lifecycle.resume, job, legal=model.state in ("queued", "running", "paused")):
            if model.state == "paused":
                model.become("queued")
                model.due = True

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        model = self.models[job]
        legal = model.state not in ("succeeded", "failed")
        if self.ask(lifecycle.cancel, job, legal=legal) and model.state != "cancelled":
            model.become("cancelled")
            model.epoch += 1

    @invariant()
    def the_database_agrees(self) -> None:
        with self.sessions() as session:
            jobs = session.scalars(select(Job)).all()
            held = {job.id for job in jobs if job.state in HELD}
            assert {job.id: (job.state, job.epoch) for job in jobs} == {
                job: (model.state, model.epoch) for job, model in self.models.items()
            }
            assert set(session.scalars(select(JobLease.job_id))) == held
            open_attempts = select(JobAttempt.job_id).where(JobAttempt.ended_at.is_(None))
            assert sorted(session.scalars(open_attempts)) == sorted(held)

    @invariant()
    def each_job_ends_once_and_is_told_of_without_gaps(self) -> None:
        with self.sessions() as session:
            for job, model in self.models.items():
                found = session.execute(
                    select(JobEvent.seq, JobEvent.epoch, JobEvent.dedupe_key)
                    .where(JobEvent.job_id == job)
                    .order_by(JobEvent.seq)
                ).all()
                assert [row.seq for row in found] == list(range(1, len(found) + 1))
                assert [row.epoch for row in found] == sorted(row.epoch for row in found)
                ends = [row.dedupe_key for row in found if row.dedupe_key in TERMINAL_STATES]
                assert ends == ([model.state] if model.state in TERMINAL_STATES else [])
                assert model.ends <= 1

    @invariant()
    def models_and_usage_come_with_success_alone(self) -> None:
        done = sorted(job for job, model in self.models.items() if model.state == "succeeded")
        with self.sessions() as session:
            final = select(FineTunedModel.job_id).where(FineTunedModel.step.is_(None))
            assert sorted(session.scalars(final)) == done
            assert sorted(session.scalars(select(TrainingUsage.job_id))) == done

    @invariant()
    def every_job_that_waits_was_rung_for(self) -> None:
        with self.sessions() as session:
            rung = {
                (payload["task"], payload["job_id"])
                for payload in session.scalars(select(Outbox.payload).where(Outbox.kind == "bell"))
            }
        for job, model in self.models.items():
            assert ("validate", job) in rung
            assert model.state != "queued" or ("train", job) in rung

    def do(self, work: TransactionWork) -> None:
        with transaction(self.sessions) as session:
            work(session)

    def report(self, claim: JobAssignment, work: TransactionWork, *, legal: bool = True) -> bool:
        """Whether a worker's effect counted, which it must if and only if it holds its job."""
        held = self.models[claim.job_id].is_held_at(claim.attempt)
        if held and legal:
            self.do(work)
            return True
        with pytest.raises((LeaseLost, NoFinalCheckpoint)):
            self.do(work)
        return False

    def ask(self, verb: Callable[..., Job], job: str, *, legal: bool) -> bool:
        with suppress(InvalidRequest):
            with transaction(self.sessions) as session:
                verb(session, self.project.id, job)
            assert legal, f"{verb.__name__} was let through"
            return True
        assert not legal, f"{verb.__name__} was refused"
        return False

    def teardown(self) -> None:
        with transaction(self.sessions) as session:
            tables = "outbox, usage, checkpoints, job_events, job_metrics, job_attempts, job_leases"
            for table in (*tables.split(", "), "tuned_models", "jobs", "files"):
                session.execute(text(f"DELETE FROM {table}"))
            assert session.scalar(select(func.count()).select_from(Job)) == 0


def test_every_life_is_as_the_model_has_it(sessions: SessionMaker) -> None:
    run_state_machine_as_test(
        lambda: Lives(sessions),
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            # A life is short enough to be read as it is; to shorten it takes minutes.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
