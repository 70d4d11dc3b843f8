"""The heartbeat of an attempt survives errors, since nothing else renews the lease."""

import threading

from sqlalchemy import event

from app.db.session import create_database_engine, session_maker, transaction
from app.jobs import leases, lifecycle
from app.jobs.leases import TrainerDirective
from app.settings import Settings
from tests.polling import wait_until
from tests.worker.supervisor.fake_trainer import TrainerFixture
from worker.supervisor.heartbeat import Heartbeat


class OneTimeError:
    """Raises an unexpected error in one database statement."""

    def __init__(self) -> None:
        self.was_raised = threading.Event()

    def raise_once(self, *_: object) -> None:
        if not self.was_raised.is_set():
            self.was_raised.set()
            raise ValueError("an unexpected error")


def test_an_unknown_error_does_not_end_the_heartbeat(
    trainer: TrainerFixture, settings: Settings
) -> None:
    job_id = trainer.create_job(steps=1)
    with transaction(trainer.sessions) as session:
        assignment = leases.acquire(session, "w", lease_seconds=60)
    assert assignment is not None
    engine, fault = create_database_engine(settings.database_url), OneTimeError()
    event.listen(engine, "before_cursor_execute", fault.raise_once)
    heartbeat = Heartbeat(assignment, session_maker(engine), trainer.context.settings)
    with heartbeat:
        assert fault.was_raised.wait(timeout=120)
        with transaction(trainer.sessions) as session:
            lifecycle.cancel(session, trainer.get_job(job_id).project_id, job_id)
        wait_until("the heartbeat has read the directive", lambda: heartbeat.is_attempt_over)
    assert heartbeat.directive is TrainerDirective.CANCEL
    engine.dispose()
