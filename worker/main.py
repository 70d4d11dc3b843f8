"""Celery's entry point for the trainer and the io process, selected by the consumed queue.

    celery -A worker.main worker -Q train -P threads -c 1
    celery -A worker.main worker -Q io -P threads -c 8

In addition to broker notifications, threads poll for work every few seconds, so that the work gets
done without a broker, too.
"""

import random
import shlex
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from celery import bootsteps, signals

from app import logs
from app.broker import IO_QUEUE, TRAIN_QUEUE, TaskNotifier, broker_url, make_celery
from app.catalog import Catalog
from app.db import outbox
from app.db.session import (
    DatabaseUnavailable,
    SessionMaker,
    create_database_engine,
    session_maker,
    transaction,
)
from app.jobs import lifecycle
from app.operations import outbox_dispatch, periodic_tasks
from app.operations.orphaned_objects import OrphanCollector
from app.operations.reconciler import Reconciler
from app.safe_http.client import SafeHttpClient
from app.settings import Settings
from app.storage import StorageUnavailable, open_store
from app.webhooks.sender import WebhookSender
from worker import tasks
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.job_runner import JobRunner
from worker.supervisor.training_process import TRAINING_COMMAND

log = logs.get_logger(__name__)

# Heartbeats that a trainer may miss during a database outage before its jobs are requeued.
GRACE_HEARTBEATS = 3
# An unfinished upload this old was left by a killed process.
UNFINISHED_UPLOAD_AGE = timedelta(hours=24)
SWEEP_INTERVAL_SECONDS = 3600.0

celery = make_celery()
stopping = threading.Event()


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def _disable_celery_logging(**_: object) -> None:
    """Keep Celery from configuring logging, by connecting to its signal."""


@signals.celeryd_init.connect  # type: ignore[untyped-decorator]
def _configure(conf: Any, options: dict[str, Any], **_: object) -> None:
    settings = Settings()
    queues = options.get("queues") or ["worker"]
    logs.configure(settings.log_level, "-".join(queues))
    conf.broker_url = broker_url(_require_urls(settings)[1])
    # Without prefetching no notification waits behind a running job while another trainer is idle.
    # It costs a second per notification that finds all threads busy, too much for validations.
    conf.worker_disable_prefetch = TRAIN_QUEUE in queues


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _on_shutdown(**_: object) -> None:
    stopping.set()


class PeriodicThreads(bootsteps.StartStopStep):  # type: ignore[misc]
    """Celery bootstep that registers the tasks and runs the periodic threads.

    It starts before Celery connects to the broker, which may be unavailable for long.
    """

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        settings = Settings()
        self._threads: list[PeriodicThread] = []
        if TRAIN_QUEUE in worker.app.amqp.queues.consume_from:
            self._threads += _trainer_threads(settings, worker.app)
        if IO_QUEUE in worker.app.amqp.queues.consume_from:
            self._threads += _io_threads(settings, worker.app)
        for each in self._threads:
            each.start()

    def close(self, worker: Any) -> None:
        # Celery waits for running tasks next; this makes them end.
        stopping.set()

    def stop(self, worker: Any) -> None:
        for each in self._threads:
            each.join()


celery.steps["worker"].add(PeriodicThreads)


class PeriodicThread(threading.Thread):
    """Calls `work` at an interval until the process shuts down, then `close`."""

    def __init__(
        self,
        name: str,
        every_seconds: float,
        work: Callable[[], object],
        *,
        close: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(name=name)
        self._interval_seconds = every_seconds
        self._work = work
        self._close = close

    def run(self) -> None:
        while not stopping.is_set():
            try:
                self._work()
            except (DatabaseUnavailable, StorageUnavailable) as error:
                log.warning("round.failed", round=self.name, reason=str(error))
            except Exception:
                # Polling is the safety net: no unknown error may end this thread.
                log.exception("round.failed", round=self.name)
            # Jitter, so that many processes do not poll at the same moment.
            stopping.wait(self._interval_seconds * random.uniform(0.8, 1.2))
        self._close()


def _trainer_threads(settings: Settings, app: Any) -> list[PeriodicThread]:
    sessions, _ = _connect(settings)
    machine = TrainerContext(
        settings=settings,
        sessions=sessions,
        store=open_store(settings),
        catalog=Catalog.load(settings.models_file),
        stopping=stopping,
        command=tuple(shlex.split(settings.training_command)) or TRAINING_COMMAND,
    )
    supervisor = JobRunner(machine)
    tasks.register_train(app, supervisor.run_queued)
    polls = [
        PeriodicThread(f"poll-{slot}", settings.poll_interval_seconds, supervisor.run_queued)
        for slot in range(settings.trainer_concurrency)
    ]
    sweep = periodic_tasks.recording(
        sessions, "sweep_run_folders", settings.poll_interval_seconds, supervisor.clean_up
    )
    return [
        *polls,
        PeriodicThread("announce", settings.heartbeat_interval_seconds, supervisor.report_state),
        PeriodicThread("sweep", settings.poll_interval_seconds, sweep),
    ]


def _io_threads(settings: Settings, app: Any) -> list[PeriodicThread]:
    sessions, bells = _connect(settings)
    store = open_store(settings)
    reconciler = Reconciler(
        sessions, grace_period_seconds=GRACE_HEARTBEATS * settings.heartbeat_interval_seconds
    )

    def validate(job_id: str) -> None:
        with transaction(sessions) as session:
            lifecycle.validate(session, job_id)

    couriers = WebhookSender(sessions, SafeHttpClient(settings.webhook_allowed_networks))
    tasks.register_validate(app, validate)
    tasks.register_deliver(app, couriers.dispatch_due)

    def duty(name: str, every_seconds: float, work: Callable[[], object]) -> PeriodicThread:
        return PeriodicThread(
            name, every_seconds, periodic_tasks.recording(sessions, name, every_seconds, work)
        )

    poll = settings.poll_interval_seconds
    deliver = periodic_tasks.recording(sessions, "deliver_webhooks", poll, couriers.dispatch_due)
    return [
        PeriodicThread("deliver_webhooks", poll, deliver, close=couriers.close),
        duty(
            "relay_outbox",
            poll,
            lambda: outbox_dispatch.dispatch_pending(sessions, bells.notify, store),
        ),
        PeriodicThread("reconcile", poll, reconciler.run),
        duty(
            "sweep_unfinished_uploads",
            SWEEP_INTERVAL_SECONDS,
            lambda: store.remove_unfinished(UNFINISHED_UPLOAD_AGE),
        ),
        duty("sweep_orphans", SWEEP_INTERVAL_SECONDS, OrphanCollector(sessions, store).collect),
    ]


def _connect(settings: Settings) -> tuple[SessionMaker, TaskNotifier]:
    database_url, redis_url = _require_urls(settings)
    sessions = session_maker(create_database_engine(database_url))
    bells = TaskNotifier(redis_url)
    outbox.notify_after_commit(sessions, bells.notify)
    return sessions, bells


def _require_urls(settings: Settings) -> tuple[str, str]:
    if settings.database_url is None or settings.redis_url is None:
        raise SystemExit("Set DATABASE_URL and REDIS_URL, or run `luthier up`, which starts both.")
    return settings.database_url, settings.redis_url
