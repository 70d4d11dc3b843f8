"""Model-based test of the job state machine (Hypothesis): random sequences of operations run in
Postgres and in a small model, which must agree after each step.

Trainers here never stop: those that have lost their lease keep writing.
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
    OutboxKind,
    TrainingUsage,
)
from app.errors import InvalidRequest
from app.jobs import (
    attempt_outcomes,
    checkpoints,
    finalization,
    lease_expiry,
    leases,
    lifecycle,
    progress,
)
from app.jobs.checkpoints import StoredCheckpoint
from app.jobs.failures import JobFailure
from app.jobs.finalization import NoFinalCheckpoint, ResultFile
from app.jobs.leases import JobAssignment, TrainerDirective
from app.jobs.progress import StepMetrics
from app.jobs.states import LeaseLost
from tests.factories import make_file, make_job, make_project

TOTAL_STEPS = 3
HELD_STATES = ("running", "pausing", "finalizing")
# In the order in which foreign keys allow emptying them.
TABLES = (
    "outbox",
    "training_usage",
    "checkpoints",
    "job_events",
    "job_metrics",
    "job_attempts",
    "job_leases",
    "fine_tuned_models",
    "jobs",
    "files",
)


@dataclass
class ExpectedJob:
    """Expected state of a job."""

    state: str = "validating_files"
    good: bool = True
    attempt: int = 0
    due: bool = True
    crashes: int = 0
    stored: set[int] = field(default_factory=set)
    ends: int = 0

    def enter(self, state: str) -> None:
        self.state = state
        self.ends += state in TERMINAL_STATES

    def is_owned_by(self, attempt: int) -> bool:
        return self.state in HELD_STATES and self.attempt == attempt

    def requeue(self, *, due: bool) -> None:
        if self.state == "pausing":
            self.enter("paused")
        else:
            self.enter("queued")
            self.due = due

    def crash(self, *, due: bool) -> None:
        if self.crashes + 1 >= attempt_outcomes.MAX_ATTEMPTS_WITHOUT_PROGRESS:
            self.enter("failed")
        else:
            self.crashes += 1
            self.requeue(due=due)


class JobMachine(RuleBasedStateMachine):
    jobs: Bundle[str] = Bundle("jobs")
    assignments: Bundle[JobAssignment] = Bundle("assignments")

    def __init__(self, sessions: SessionMaker) -> None:
        super().__init__()
        self.sessions = sessions
        self.models: dict[str, ExpectedJob] = {}

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
        self.models[job.id] = ExpectedJob(good=good)
        return job.id

    @rule(job=jobs)
    def validate(self, job: str) -> None:
        self.run(lambda session: lifecycle.validate(session, job))
        model = self.models[job]
        if model.state == "validating_files":
            model.enter("queued" if model.good else "failed")

    @rule(target=assignments)
    def acquire(self) -> object:
        with transaction(self.sessions) as session:
            assignment = leases.acquire(session, "trainer", lease_seconds=60)
        due = {job for job, m in self.models.items() if m.state == "queued" and m.due}
        if assignment is None:
            assert due == set()
            return multiple()
        assert assignment.job_id in due
        model = self.models[assignment.job_id]
        model.enter("running")
        model.attempt += 1
        assert assignment.attempt == model.attempt
        self.write(
            assignment,
            lambda session: progress.record_started(
                session,
                assignment.job_id,
                assignment.attempt,
                hyperparameters={"batch_size": 4},
                total_steps=TOTAL_STEPS,
            ),
        )
        return assignment

    @rule(assignment=assignments)
    def heartbeat(self, assignment: JobAssignment) -> None:
        with transaction(self.sessions) as session:
            directive = leases.heartbeat(
                session, assignment.job_id, assignment.attempt, step=1, lease_seconds=60
            )
        assert directive == self.expected_directive(assignment)

    def expected_directive(self, assignment: JobAssignment) -> TrainerDirective:
        model = self.models[assignment.job_id]
        if model.state == "cancelled":
            return TrainerDirective.CANCEL
        if not model.is_owned_by(assignment.attempt):
            return TrainerDirective.LEASE_LOST
        return TrainerDirective.PAUSE if model.state == "pausing" else TrainerDirective.CONTINUE

    @rule(assignment=assignments, step=st.integers(1, TOTAL_STEPS))
    def report_metrics(self, assignment: JobAssignment, step: int) -> None:
        steps = [StepMetrics(step, {"train_loss": 1 / step})]
        self.write(
            assignment,
            lambda session: progress.record_metrics(
                session, assignment.job_id, assignment.attempt, steps
            ),
        )

    @rule(assignment=assignments, step=st.integers(1, TOTAL_STEPS))
    def store_checkpoint(self, assignment: JobAssignment, step: int) -> None:
        stored = StoredCheckpoint(
            step=step,
            servable=True,
            prefix=f"jobs/{assignment.job_id}/attempt-{assignment.attempt}/step-{step}",
            manifest_sha256="",
            bytes=1,
            metrics={},
        )
        if self.write(
            assignment,
            lambda session: checkpoints.record(
                session, assignment.job_id, assignment.attempt, stored
            ),
        ):
            self.models[assignment.job_id].crashes = 0
            self.models[assignment.job_id].stored.add(step)

    @rule(assignment=assignments)
    def finalize(self, assignment: JobAssignment) -> None:
        if self.write(
            assignment,
            lambda session: finalization.finalize(session, assignment.job_id, assignment.attempt),
        ):
            self.models[assignment.job_id].state = "finalizing"

    @rule(assignment=assignments)
    def succeed(self, assignment: JobAssignment) -> None:
        model = self.models[assignment.job_id]
        result = ResultFile(
            file_id=f"file-{assignment.job_id}-{assignment.attempt}", key="k", bytes=1, sha256=""
        )
        ready = model.state == "finalizing" and TOTAL_STEPS in model.stored
        done = self.write(
            assignment,
            lambda session: finalization.succeed(
                session, assignment.job_id, assignment.attempt, trained_tokens=9, result=result
            ),
            legal=ready,
        )
        if done:
            model.enter("succeeded")

    @rule(assignment=assignments)
    def finish(self, assignment: JobAssignment) -> None:
        """Train to the end: a sequence that single random steps would seldom produce."""
        self.store_checkpoint(assignment=assignment, step=TOTAL_STEPS)
        self.finalize(assignment=assignment)
        self.succeed(assignment=assignment)

    @rule(assignment=assignments)
    def crash(self, assignment: JobAssignment) -> None:
        if self.write(
            assignment,
            lambda session: attempt_outcomes.record_crash(
                session, assignment.job_id, assignment.attempt, reason="It crashed."
            ),
        ):
            # The first retry starts at once.
            model = self.models[assignment.job_id]
            model.crash(due=model.crashes == 0)

    @rule(assignment=assignments)
    def yield_(self, assignment: JobAssignment) -> None:
        if self.write(
            assignment,
            lambda session: attempt_outcomes.yield_job(
                session, assignment.job_id, assignment.attempt
            ),
        ):
            self.models[assignment.job_id].requeue(due=True)

    @rule(assignment=consumes(assignments))
    def fail(self, assignment: JobAssignment) -> None:
        failure = JobFailure("bad", "It is bad.")
        if self.write(
            assignment,
            lambda session: attempt_outcomes.fail(
                session, assignment.job_id, assignment.attempt, failure
            ),
        ):
            self.models[assignment.job_id].enter("failed")

    @rule(job=jobs)
    def expire_lease(self, job: str) -> None:
        """Let the lease expire, as if the trainer sent no heartbeat."""
        expire = text(
            "UPDATE job_leases SET lease_until = clock_timestamp() - interval '1 s' "
            "WHERE job_id = :id"
        )
        self.run(lambda session: session.execute(expire, {"id": job}))
        with transaction(self.sessions) as session:
            expired = lease_expiry.find_expired_leases(session)
        assert expired == ([job] if self.models[job].state in HELD_STATES else [])
        for expired_job in expired:
            self.run(
                lambda session, expired_job=expired_job: lease_expiry.expire_lease(
                    session, expired_job
                )
            )
        if self.models[job].state in HELD_STATES:
            self.models[job].crash(due=True)

    @rule(target=assignments, assignment=assignments)
    def take_over_and_report_late(self, assignment: JobAssignment) -> object:
        """Let another trainer take over; the former owner reports one more step."""
        self.expire_lease(assignment.job_id)
        following = self.acquire()
        self.report_metrics(assignment=assignment, step=1)
        return following

    @rule()
    def wait(self) -> None:
        """Let the delay after a crash pass."""
        self.run(
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
        if self.request(lifecycle.pause, job, legal=model.state in legal):
            following = {"queued": "paused", "running": "pausing"}
            model.state = following.get(model.state, model.state)

    @rule(job=jobs)
    def resume(self, job: str) -> None:
        model = self.models[job]
        if self.request(
            lifecycle.resume, job, legal=model.state in ("queued", "running", "paused")
        ):
            if model.state == "paused":
                model.enter("queued")
                model.due = True

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        model = self.models[job]
        legal = model.state not in ("succeeded", "failed")
        if self.request(lifecycle.cancel, job, legal=legal) and model.state != "cancelled":
            model.enter("cancelled")
            model.attempt += 1

    @invariant()
    def the_database_matches_the_model(self) -> None:
        with self.sessions() as session:
            jobs = session.scalars(select(Job)).all()
            held = {job.id for job in jobs if job.state in HELD_STATES}
            assert {job.id: (job.state, job.attempt) for job in jobs} == {
                job: (model.state, model.attempt) for job, model in self.models.items()
            }
            assert set(session.scalars(select(JobLease.job_id))) == held
            open_attempts = select(JobAttempt.job_id).where(JobAttempt.ended_at.is_(None))
            assert sorted(session.scalars(open_attempts)) == sorted(held)

    @invariant()
    def each_job_ends_once_and_its_events_have_no_gaps(self) -> None:
        with self.sessions() as session:
            for job, model in self.models.items():
                found = session.execute(
                    select(JobEvent.seq, JobEvent.attempt, JobEvent.dedupe_key)
                    .where(JobEvent.job_id == job)
                    .order_by(JobEvent.seq)
                ).all()
                assert [row.seq for row in found] == list(range(1, len(found) + 1))
                assert [row.attempt for row in found] == sorted(row.attempt for row in found)
                ends = [row.dedupe_key for row in found if row.dedupe_key in TERMINAL_STATES]
                assert ends == ([model.state] if model.state in TERMINAL_STATES else [])
                assert model.ends <= 1

    @invariant()
    def only_succeeded_jobs_have_models_and_usage(self) -> None:
        done = sorted(job for job, model in self.models.items() if model.state == "succeeded")
        with self.sessions() as session:
            final = select(FineTunedModel.job_id).where(FineTunedModel.step.is_(None))
            assert sorted(session.scalars(final)) == done
            assert sorted(session.scalars(select(TrainingUsage.job_id))) == done

    @invariant()
    def every_waiting_job_has_a_notification(self) -> None:
        with self.sessions() as session:
            notifications = {
                (payload["task"], payload["job_id"])
                for payload in session.scalars(
                    select(Outbox.payload).where(Outbox.kind == OutboxKind.NOTIFY)
                )
            }
        for job, model in self.models.items():
            assert ("validate", job) in notifications
            assert model.state != "queued" or ("train", job) in notifications

    def run(self, work: TransactionWork) -> None:
        with transaction(self.sessions) as session:
            work(session)

    def write(
        self, assignment: JobAssignment, work: TransactionWork, *, legal: bool = True
    ) -> bool:
        """Run a trainer's write; it must succeed if and only if the trainer owns the job."""
        owned = self.models[assignment.job_id].is_owned_by(assignment.attempt)
        if owned and legal:
            self.run(work)
            return True
        with pytest.raises((LeaseLost, NoFinalCheckpoint)):
            self.run(work)
        return False

    def request(self, operation: Callable[..., Job], job: str, *, legal: bool) -> bool:
        with suppress(InvalidRequest):
            with transaction(self.sessions) as session:
                operation(session, self.project.id, job)
            assert legal, f"{operation.__name__} was accepted"
            return True
        assert not legal, f"{operation.__name__} was rejected"
        return False

    def teardown(self) -> None:
        with transaction(self.sessions) as session:
            for table in TABLES:
                session.execute(text(f"DELETE FROM {table}"))
            assert session.scalar(select(func.count()).select_from(Job)) == 0


def test_random_sequences_match_the_model(sessions: SessionMaker) -> None:
    run_state_machine_as_test(
        lambda: JobMachine(sessions),
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            # No shrinking: a failing sequence is short enough to read, and shrinking takes minutes.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
