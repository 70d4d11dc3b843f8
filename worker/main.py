"""Celery's entry: the trainer and the io process, told apart by the queue that they consume.

    celery -A worker.main worker -Q train -P threads -c 1
    celery -A worker.main worker -Q io -P threads -c 8

Beside what bells set going, threads look for work every few seconds: whatever the broker does, the
work gets done.
"""

import random
import shlex
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from celery import bootsteps, signals

from app import logs
from app.broker import IO_QUEUE, TRAIN_QUEUE, Bells, broker_url, make_celery
from app.catalog import Catalog
from app.db import outbox
from app.db.session import DatabaseUnavailable, SessionMaker, connect, session_maker, transaction
from app.jobs import lifecycle
from app.operations import outbox_dispatch, periodic_tasks
from app.operations.orphaned_objects import Orphans
from app.operations.reconciler import Reconciler
from app.safe_http.client import Poster
from app.safe_http.ip_policy import parse_networks
from app.settings import Settings
from app.storage import StorageUnavailable, open_store
from app.webhooks.sender import Couriers
from worker import tasks
from worker.supervisor.attempt import Machine
from worker.supervisor.job_runner import Supervisor
from worker.supervisor.training_process import COMMAND

log = logs.get(__name__)

# Heartbeats that a worker may miss because the database was away, before it is thought lost.
PATIENCE_HEARTBEATS = 3
# What a killed upload left unfinished is surely nobody's by then.
UNFINISHED_AFTER = timedelta(hours=24)
SWEEP_SECONDS = 3600.0

celery = make_celery()
stopping = threading.Event()


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def _keep_our_logging(**_: object) -> None:
    """That somebody listens keeps Celery from setting up its own."""


@signals.celeryd_init.connect  # type: ignore[untyped-decorator]
def _configure(conf: Any, options: dict[str, Any], **_: object) -> None:
    settings = Settings()
    queues = options.get("queues") or ["worker"]
    logs.configure(settings.log_level, "-".join(queues))
    conf.broker_url = broker_url(_urls(settings)[1])
    # No bell waits behind a running training while another trainer is idle. The price is a second
    # for each bell that finds all threads taken, which validations would pay in earnest.
    conf.worker_disable_prefetch = TRAIN_QUEUE in queues


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop(**_: object) -> None:
    stopping.set()


class Rounds(bootsteps.StartStopStep):  # type: ignore[misc]
    """The part of a Celery worker that is ours: its tasks, and the threads that poll.

    It starts before Celery looks for the broker, which may be away for long.
    """

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        settings = Settings()
        self._rounds: list[Round] = []
        if TRAIN_QUEUE in worker.app.amqp.queues.consume_from:
            self._rounds += _trainer(settings, worker.app)
        if IO_QUEUE in worker.app.amqp.queues.consume_from:
            self._rounds += _io(settings, worker.app)
        for each in self._rounds:
            each.start()

    def close(self, worker: Any) -> None:
        # Celery waits for running tasks next, and this is what makes them end.
        stopping.set()

    def stop(self, worker: Any) -> None:
        for each in self._rounds:
            each.join()


celery.steps["worker"].add(Rounds)


class Round(threading.Thread):
    """Does something every so often until the process is to end; then `close` is called."""

    def __init__(
        self,
        name: str,
        every_seconds: float,
        work: Callable[[], object],
        *,
        close: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(name=name)
        self._every = every_seconds
        self._work = work
        self._close = close

    def run(self) -> None:
        while not stopping.is_set():
            try:
                self._work()
            except (DatabaseUnavailable, StorageUnavailable) as error:
                log.warning("round.failed", round=self.name, reason=str(error))
            except Exception:
                # This thread is the net under everything else: no surprise may end it.
                log.exception("round.failed", round=self.name)
            # Spread, so that many workers do not ask at the same moment.
            stopping.wait(self._every * random.uniform(0.8, 1.2))
        self._close()


def _trainer(settings: Settings, app: Any) -> list[Round]:
    sessions, _ = _connect(settings)
    machine = Machine(
        settings=settings,
        sessions=sessions,
        store=open_store(settings),
        catalog=Catalog.load(settings.models_file),
        stopping=stopping,
        command=tuple(shlex.split(settings.training_command)) or COMMAND,
    )
    supervisor = Supervisor(machine)
    tasks.register_train(app, supervisor.run_queued)
    polls = [
        Round(f"poll-{slot}", settings.poll_seconds, supervisor.run_queued)
        for slot in range(settings.train_slots)
    ]
    sweep = periodic_tasks.noted(
        sessions, "sweep_run_folders", settings.poll_seconds, supervisor.sweep
    )
    return [
        *polls,
        Round("announce", settings.heartbeat_seconds, supervisor.announce),
        Round("sweep", settings.poll_seconds, sweep),
    ]


def _io(settings: Settings, app: Any) -> list[Round]:
    sessions, bells = _connect(settings)
    store = open_store(settings)
    reconciler = Reconciler(
        sessions, patience_seconds=PATIENCE_HEARTBEATS * settings.heartbeat_seconds
    )

    def validate(job_id: str) -> None:
        with transaction(sessions) as session:
            lifecycle.validate(session, job_id)

    couriers = Couriers(sessions, Poster(parse_networks(settings.webhook_networks)))
    tasks.register_validate(app, validate)
    tasks.register_deliver(app, couriers.send_out)

    def duty(name: str, every_seconds: float, work: Callable[[], object]) -> Round:
        return Round(name, every_seconds, periodic_tasks.noted(sessions, name, every_seconds, work))

    poll = settings.poll_seconds
    deliver = periodic_tasks.noted(sessions, "deliver_webhooks", poll, couriers.send_out)
    return [
        Round("deliver_webhooks", poll, deliver, close=couriers.close),
        duty("relay_outbox", poll, lambda: outbox_dispatch.relay(sessions, bells.ring, store)),
        Round("reconcile", poll, reconciler.run),
        duty("sweep_unfinished_uploads", SWEEP_SECONDS, lambda: store.sweep(UNFINISHED_AFTER)),
        duty("sweep_orphans", SWEEP_SECONDS, Orphans(sessions, store).sweep),
    ]


def _connect(settings: Settings) -> tuple[SessionMaker, Bells]:
    database_url, redis_url = _urls(settings)
    sessions = session_maker(connect(database_url))
    bells = Bells(redis_url)
    outbox.ring_on_commit(sessions, bells.ring)
    return sessions, bells


def _urls(settings: Settings) -> tuple[str, str]:
    if settings.database_url is None or settings.redis_url is None:
        raise SystemExit("Set DATABASE_URL and REDIS_URL, or run `luthier up`, which brings both.")
    return settings.database_url, settings.redis_url
