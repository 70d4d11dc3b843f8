"""A training process that dies in the comparison with the engine: its model is trained."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.tables import (
    AttemptOutcome,
    EventLevel,
    JobAttempt,
    JobEvent,
    JobLease,
    JobState,
)
from app.jobs import engine_comparison, events, lease_expiry, leases
from tests.factories import make_job, make_project
from tests.polling import wait_until
from tests.worker.supervisor.fake_trainer import (
    RunInBackground,
    TrainerFixture,
    attempt_outcomes,
    event_messages,
)
from tests.worker.supervisor.test_stopping import with_settings
from worker.host_memory import HostMemory
from worker.supervisor.attempt import TrainerContext

STEPS = 4
# The fault is injected after the last step.
IN_COMPARISON = {"steps": STEPS, "at_step": STEPS + 1, "until_attempt": 1}
BEGAN = "Comparing the model with the engine that will serve it"


def find_warnings(trainer: TrainerFixture, job_id: str) -> list[tuple[str, object]]:
    with transaction(trainer.sessions) as session:
        rows = session.execute(
            select(JobEvent.message, JobEvent.data).where(
                JobEvent.job_id == job_id, JobEvent.level == EventLevel.WARN
            )
        )
        return [(row.message, row.data) for row in rows]


def require_success_unchecked(trainer: TrainerFixture, job_id: str, reason: str) -> None:
    job = trainer.get_job(job_id)
    assert (job.state, job.micro_batch_size) == ("succeeded", None)
    assert job.fine_tuned_model is not None
    assert attempt_outcomes(trainer, job_id) == [("done", 0)]
    ((message, data),) = find_warnings(trainer, job_id)
    assert message.startswith("It was not checked that the model is served as it was trained: ")
    assert reason in message
    assert data == {"note": "engine:not_compared"}


def test_a_kill_for_memory_leaves_the_model(context: TrainerContext) -> None:
    """It is not trained again with a smaller batch, nor compared again."""
    with TemporaryDirectory() as name:
        proc = Path(name)
        proc.chmod(0o711)
        vmstat = proc / "vmstat"
        vmstat.write_text("oom_kill 3\n")
        vmstat.chmod(0o666)
        small = replace(context, host_memory=HostMemory(proc, proc / "cgroup"))
        trainer = with_settings(small, context.settings)
        job_id = trainer.create_job(fault="oom_kill", vmstat=str(vmstat), **IN_COMPARISON)
        assert trainer.runner.run_next()
        require_success_unchecked(trainer, job_id, "memory ran out")


def test_a_comparison_that_stalls_leaves_the_model(context: TrainerContext) -> None:
    limit = {"training_stall_timeout_seconds": 1.0}
    trainer = with_settings(context, context.settings.model_copy(update=limit))
    job_id = trainer.create_job(fault="ignore_sigterm", **IN_COMPARISON)
    assert trainer.runner.run_next()
    require_success_unchecked(trainer, job_id, "made no progress")


def test_a_crash_is_tried_again_in_the_next_attempt(trainer: TrainerFixture) -> None:
    """The engine that raises it here would do so when it serves the model."""
    job_id = trainer.create_job(fault="kill", **IN_COMPARISON)
    assert trainer.runner.run_next()
    assert trainer.get_job(job_id).state == "queued"
    assert trainer.runner.run_next()
    assert trainer.get_job(job_id).state == "succeeded"
    assert attempt_outcomes(trainer, job_id)[-1] == ("done", 0)
    assert not any("not checked" in message for message, _ in find_warnings(trainer, job_id))


def test_a_machine_that_dies_in_it_is_the_reason_to_leave_it_out(
    trainer: TrainerFixture, run_in_background: RunInBackground
) -> None:
    """The beginning is stored before the comparison needs memory."""
    job_id = trainer.create_job(fault="wait", **IN_COMPARISON)
    thread = run_in_background(trainer.runner.run_next)
    wait_until("it has begun", lambda: BEGAN in event_messages(trainer, job_id))

    def expire_lease() -> bool:
        with transaction(trainer.sessions) as session:
            session.execute(update(JobLease).values(lease_until=JobLease.heartbeat_at))
            return lease_expiry.expire_lease(session, job_id)

    # It leaves out a job that the trainer has locked at this moment.
    wait_until("the lease has expired", expire_lease)
    trainer.context.stopping.set()
    thread.join(timeout=60)
    with transaction(trainer.sessions) as session:
        assignment = leases.acquire(session, "another", lease_seconds=60)
    assert assignment is not None
    assert not assignment.compare_with_engine


@pytest.mark.parametrize(
    ("began", "outcome", "is_fatal"),
    [
        (True, AttemptOutcome.LOST, True),
        (True, AttemptOutcome.YIELDED, False),
        (True, AttemptOutcome.CRASHED, False),
        (False, AttemptOutcome.LOST, False),
    ],
)
def test_only_a_loss_in_the_comparison_is_fatal(
    session: Session, began: bool, outcome: AttemptOutcome, is_fatal: bool
) -> None:
    job = make_job(session, make_project(session), state=JobState.RUNNING, attempt=1)
    other = make_job(session, make_project(session), state=JobState.RUNNING, attempt=1)
    for each in (job, other):
        session.add(JobAttempt(job_id=each.id, attempt=1, trainer="a", outcome=outcome))
    if began:
        events.append(session, job, [engine_comparison.build_began_event(1)])
    session.flush()
    assert engine_comparison.was_fatal(session, job.id) is is_fatal
    assert not engine_comparison.was_fatal(session, other.id)
