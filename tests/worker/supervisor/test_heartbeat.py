"""The heartbeat of an attempt goes on whatever goes wrong, for nothing else renews the lease."""

import threading

from sqlalchemy import event

from app.db.session import create_database_engine, session_maker, transaction
from app.jobs import leases, lifecycle
from app.jobs.leases import WorkerDirective
from app.settings import Settings
from tests.polling import wait_until
from tests.worker.supervisor.fake_trainer import TrainerFixture
from worker.supervisor.heartbeat import Heartbeat


class Fault:
    """A mistake in whatever a statement passes through, made once."""

    def __init__(self) -> None:
        self.was_made = threading.Event()

    def make(self, *_: object) -> None:
        if not self.was_made.is_set():
            self.was_made.set()
            raise ValueError("a mistake")


def test_a_mistake_does_not_end_it(shop: TrainerFixture, settings: Settings) -> None:
    job_id = shop.create_job(steps=1)
    with transaction(shop.sessions) as session:
        claim = leases.acquire(session, "w", lease_seconds=60)
    assert claim is not None
    engine, fault = create_database_engine(settings.database_url), Fault()
    event.listen(engine, "before_cursor_execute", fault.make)
    pulse = Heartbeat(claim, session_maker(engine), shop.context.settings)
    with pulse:
        assert fault.was_made.wait(timeout=120)
        with transaction(shop.sessions) as session:
            lifecycle.cancel(session, shop.get_job(job_id).project_id, job_id)
        wait_until("the pulse has heard of it", lambda: pulse.is_attempt_over)
    assert pulse.directive is WorkerDirective.CANCEL
    engine.dispose()
