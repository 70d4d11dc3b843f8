"""Service-wide Prometheus series, read from the database at each scrape.

Every API process thus exports the same values, and a restart loses none. They are totals over all
projects and reveal nothing about a single project.
"""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import extract, func, select
from sqlalchemy.orm import Session

from app.db.tables import Job, JobState, Outbox, StorageUsage, TrainerState
from app.jobs import trainers
from app.operations import periodic_task_runs
from app.operations.disk_space import DiskSpace


class ServiceCollector(Collector):
    """A snapshot of all series. `heartbeat_seconds` is the interval of trainers' heartbeats."""

    def __init__(self, session: Session, *, heartbeat_seconds: float) -> None:
        self._families = [
            *_build_job_metrics(session),
            *_build_periodic_task_metrics(session),
            _build_outbox_metrics(session),
            *_build_storage_metrics(session),
            _build_trainer_metrics(session, heartbeat_seconds),
        ]

    def collect(self) -> Iterable[Metric]:
        return self._families


class DiskCollector(Collector):
    """Free space of the disks of the machine that the API runs on."""

    def __init__(self, space: DiskSpace) -> None:
        self._space = space

    def collect(self) -> Iterable[Metric]:
        free = GaugeMetricFamily("luthier_disk_free_bytes", "Free space of a disk", labels=["disk"])
        for name, free_bytes in self._space.free_bytes.items():
            free.add_metric([name], free_bytes)
        yield free


def _build_storage_metrics(session: Session) -> list[Metric]:
    is_stored = StorageUsage.expires_at.is_(None)
    stored_bytes = session.scalar(select(func.sum(StorageUsage.bytes)).where(is_stored))
    stored_files = session.scalar(select(func.sum(StorageUsage.files)).where(is_stored))
    return [
        GaugeMetricFamily(
            "luthier_stored_bytes",
            "Stored bytes of all projects: files, parts of uploads and checkpoints",
            value=float(stored_bytes or 0),
        ),
        GaugeMetricFamily(
            "luthier_stored_files", "Stored files of all projects", value=float(stored_files or 0)
        ),
    ]


def _build_job_metrics(session: Session) -> list[Metric]:
    counts = select(Job.state, func.count()).group_by(Job.state)
    counts_by_state = dict(session.execute(counts).all())
    jobs = GaugeMetricFamily("luthier_jobs", "Jobs by state", labels=["state"])
    for state in JobState:
        jobs.add_metric([state], counts_by_state.get(state, 0))
    due = select(func.min(Job.run_after)).where(Job.state == JobState.QUEUED)
    age = func.clock_timestamp() - due.scalar_subquery()
    seconds = session.scalar(select(func.greatest(extract("epoch", age), 0)))
    oldest = GaugeMetricFamily(
        "luthier_oldest_queued_job_age_seconds",
        "Age of the oldest queued job: seconds since it became eligible to run",
        value=float(seconds or 0),
    )
    return [jobs, oldest]


def _build_periodic_task_metrics(session: Session) -> list[Metric]:
    last_success = GaugeMetricFamily(
        "luthier_periodic_task_last_success_timestamp_seconds",
        "Time of a periodic task's last success, in Unix seconds",
        labels=["task"],
    )
    interval = GaugeMetricFamily(
        "luthier_periodic_task_interval_seconds",
        "Interval at which a periodic task is meant to run",
        labels=["task"],
    )
    for status in periodic_task_runs.list_task_statuses(session):
        last_success.add_metric([status.name], status.last_succeeded_at.timestamp())
        interval.add_metric([status.name], status.interval_seconds)
    return [last_success, interval]


def _build_outbox_metrics(session: Session) -> Metric:
    rows = select(Outbox.kind, func.count()).where(Outbox.done_at.is_(None)).group_by(Outbox.kind)
    pending = GaugeMetricFamily(
        "luthier_outbox_pending", "Committed side effects not performed yet", labels=["kind"]
    )
    for kind, count in session.execute(rows):
        pending.add_metric([kind], count)
    return pending


def _build_trainer_metrics(session: Session, heartbeat_seconds: float) -> Metric:
    live = GaugeMetricFamily("luthier_trainers", "Live trainers by state", labels=["state"])
    counts = trainers.count_by_state(session, heartbeat_seconds=heartbeat_seconds)
    for state in TrainerState:
        live.add_metric([state], counts[state])
    return live
