"""Celery's entry point for the trainer and the io process, selected by the consumed queue.

    celery -A worker.main worker -Q train -P threads -c 1
    celery -A worker.main worker -Q io -P threads -c 8

In addition to broker notifications, threads poll for work every few seconds, so that it is also
done without a broker.
"""

import random
import shlex
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
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
)
from app.evals import attached
from app.inference.rendering_check import RenderingCheck
from app.jobs.job_rules import JobRules
from app.operations import outbox_dispatch, periodic_task_runs, retention
from app.operations.job_validation import JobValidator
from app.operations.orphaned_objects import OrphanCollector
from app.operations.periodic_task_runs import TaskName
from app.operations.reconciler import Reconciler
from app.operations.retention import RetentionPolicy
from app.operations.storage_identity import open_verified_store
from app.operations.work_kinds import open_kinds
from app.process_hardening import forbid_inspection
from app.safe_http.client import SafeHttpClient
from app.settings import Settings
from app.storage import StorageUnavailable
from app.webhooks.sender import WebhookSender
from app.work.runner import WorkRunner
from worker import broker_transport, tasks
from worker.inference.native import build as kernels
from worker.supervisor import run_folders
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.export_runner import ExportRunner
from worker.supervisor.job_runner import JobRunner
from worker.supervisor.training_process import TRAINING_COMMAND, make_fork_server

log = logs.get_logger(__name__)

# Heartbeats that a trainer may miss during a database outage before its jobs are requeued.
GRACE_HEARTBEATS = 3
# An unfinished upload this old was left by a killed process.
UNFINISHED_UPLOAD_AGE = timedelta(hours=24)
STORAGE_CLEANUP_INTERVAL_SECONDS = 3600.0
RETENTION_INTERVAL_SECONDS = 60.0

broker_transport.install()
celery = make_celery()
stopping = threading.Event()


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def _disable_celery_logging(**_: object) -> None:
    """Connect to this signal, which keeps Celery from configuring logging."""


@signals.celeryd_init.connect  # type: ignore[untyped-decorator]
def _configure(conf: Any, options: dict[str, Any], **_: object) -> None:
    settings = Settings()
    forbid_inspection()
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

    It starts before Celery connects to the broker, which may be unavailable for a long time.
    """

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        settings = Settings()
        self._threads: list[PeriodicThread] = []
        if TRAIN_QUEUE in worker.app.amqp.queues.consume_from:
            self._threads += _trainer_threads(settings, worker.app)
        if IO_QUEUE in worker.app.amqp.queues.consume_from:
            self._threads += _io_threads(settings, worker.app)
        for thread in self._threads:
            thread.start()

    def close(self, worker: Any) -> None:
        # Celery waits for running tasks next; this ends them.
        stopping.set()

    def stop(self, worker: Any) -> None:
        for thread in self._threads:
            thread.join()


celery.steps["worker"].add(PeriodicThreads)


class PeriodicThread(threading.Thread):
    """Calls `work` at an interval until the process shuts down, then `close`."""

    def __init__(
        self,
        name: str,
        interval_seconds: float,
        work: Callable[[], object],
        *,
        close: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(name=name)
        self._interval_seconds = interval_seconds
        self._work = work
        self._close = close

    def run(self) -> None:
        while not stopping.is_set():
            try:
                self._work()
            except (DatabaseUnavailable, StorageUnavailable) as error:
                log.warning("periodic_thread.failed", thread=self.name, reason=str(error))
            except Exception:
                # Polling is the safety net: no unknown error may end this thread.
                log.exception("periodic_thread.failed", thread=self.name)
            # Jitter, so that many processes do not poll at the same moment.
            stopping.wait(self._interval_seconds * random.uniform(0.8, 1.2))
        self._close()


def _trainer_threads(settings: Settings, app: Any) -> list[PeriodicThread]:
    sessions, _ = _connect(settings)
    catalog = Catalog.load(settings.models_file)
    context = TrainerContext(
        settings=settings,
        sessions=sessions,
        store=open_verified_store(settings, sessions),
        catalog=catalog,
        stopping=stopping,
        command=tuple(shlex.split(settings.training_command)) or TRAINING_COMMAND,
        fork_server=make_fork_server(settings, catalog),
    )
    runner = JobRunner(context)
    tasks.register_train(app, runner.run_queued)
    poll_threads = [
        PeriodicThread(f"poll-{slot}", settings.poll_interval_seconds, runner.run_queued)
        for slot in range(settings.trainer_concurrency)
    ]
    clean_up = periodic_task_runs.record_on_success(
        sessions,
        TaskName.DELETE_STALE_RUN_FOLDERS,
        settings.poll_interval_seconds,
        runner.clean_up,
    )
    fork_server = context.fork_server
    maintain = (
        [
            PeriodicThread(
                "fork_server",
                settings.poll_interval_seconds,
                fork_server.maintain,
                close=fork_server.close,
            )
        ]
        if fork_server is not None
        else []
    )
    if settings.native_kernels and context.command == TRAINING_COMMAND:
        # Otherwise the first job would wait for those that no engine has compiled. A shutdown does
        # not wait for the compiler: a library is renamed into place once it is whole.
        models = run_folders.get_model_cache(settings)
        threading.Thread(
            target=kernels.prepare, args=(models,), name="compile_kernels", daemon=True
        ).start()
    return [
        *poll_threads,
        *maintain,
        PeriodicThread("report_state", settings.heartbeat_interval_seconds, runner.report_state),
        PeriodicThread("clean_up", settings.poll_interval_seconds, clean_up),
        PeriodicThread("export", settings.poll_interval_seconds, ExportRunner(context).run_queued),
    ]


def _io_threads(settings: Settings, app: Any) -> list[PeriodicThread]:
    sessions, notifier = _connect(settings)
    store = open_verified_store(settings, sessions)
    policy = RetentionPolicy(
        upload_days=settings.upload_retention_days,
        job_event_days=settings.job_event_retention_days,
        job_days=settings.job_retention_days,
        deleted_row_days=settings.deleted_row_retention_days,
        archived_project_days=settings.archived_project_retention_days,
        export_hours=settings.export_retention_hours,
        stored_completion_days=settings.stored_completion_retention_days,
        audit_log_days=settings.audit_log_retention_days,
        conversation_days=settings.conversation_retention_days,
    )
    catalog = Catalog.load(settings.models_file)
    reconciler = Reconciler(
        sessions,
        grace_period_seconds=GRACE_HEARTBEATS * settings.heartbeat_interval_seconds,
        slice_seconds=settings.trainer_time_slice_seconds,
        max_running=settings.max_running_jobs_per_project,
        idempotency_hours=settings.idempotency_retention_hours,
        job_rules=JobRules.from_settings(settings, catalog),
        advance_evaluations=partial(attached.advance, settings=settings, catalog=catalog),
    )

    validator = JobValidator(sessions, store, catalog, RenderingCheck(settings))
    webhook_sender = WebhookSender(sessions, SafeHttpClient(settings.webhook_allowed_networks))
    tasks.register_validate(app, validator.validate_next)
    tasks.register_deliver(app, webhook_sender.dispatch_due)

    def periodic_task(
        name: TaskName, interval_seconds: float, work: Callable[[], object]
    ) -> PeriodicThread:
        return PeriodicThread(
            name,
            interval_seconds,
            periodic_task_runs.record_on_success(sessions, name, interval_seconds, work),
        )

    runner = WorkRunner(
        sessions,
        lambda: open_kinds(settings, sessions, store, catalog),
        stopping=stopping,
        poll_interval_seconds=settings.poll_interval_seconds,
    )
    tasks.register_work(app, runner.wake)
    interval = settings.poll_interval_seconds
    deliver = periodic_task_runs.record_on_success(
        sessions, TaskName.DELIVER_WEBHOOKS, interval, webhook_sender.dispatch_due
    )
    return [
        PeriodicThread(TaskName.DELIVER_WEBHOOKS, interval, deliver, close=webhook_sender.close),
        periodic_task(
            TaskName.DISPATCH_OUTBOX,
            interval,
            lambda: outbox_dispatch.dispatch_pending(sessions, notifier.notify, store),
        ),
        PeriodicThread("reconcile", interval, reconciler.run),
        # Ends with the process only, and starts again after an unknown error.
        PeriodicThread("work", interval, runner.run),
        # For jobs whose notification was lost.
        PeriodicThread("validate_jobs", interval, validator.validate_next),
        periodic_task(
            TaskName.DELETE_UNFINISHED_UPLOADS,
            STORAGE_CLEANUP_INTERVAL_SECONDS,
            lambda: store.remove_unfinished(UNFINISHED_UPLOAD_AGE),
        ),
        periodic_task(
            TaskName.APPLY_RETENTION,
            RETENTION_INTERVAL_SECONDS,
            lambda: retention.sweep(sessions, policy),
        ),
        periodic_task(
            TaskName.DELETE_ORPHANED_OBJECTS,
            STORAGE_CLEANUP_INTERVAL_SECONDS,
            OrphanCollector(sessions, store).collect,
        ),
    ]


def _connect(settings: Settings) -> tuple[SessionMaker, TaskNotifier]:
    database_url, redis_url = _require_urls(settings)
    sessions = session_maker(create_database_engine(database_url))
    notifier = TaskNotifier(redis_url)
    outbox.notify_after_commit(sessions, notifier.notify)
    return sessions, notifier


def _require_urls(settings: Settings) -> tuple[str, str]:
    if settings.database_url is None or settings.redis_url is None:
        raise SystemExit("Set DATABASE_URL and REDIS_URL, or run `luthier up`, which starts both.")
    return settings.database_url, settings.redis_url
