"""The service's numbers for Prometheus. All are read from the database.

So every API process exports the same ones, and a restart forgets none. They are sums over all
projects: whoever may read them learns of nobody's jobs.
"""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import extract, func, select
from sqlalchemy.orm import Session

from app.db.tables import JOB_STATES, Job, Outbox
from app.operations import periodic_tasks, trainers


class ServiceCollector(Collector):
    """All of them as they are now. `heartbeat_seconds` is how often trainers are heard of."""

    def __init__(self, session: Session, *, heartbeat_seconds: float) -> None:
        self._families = [
            *_job_metrics(session),
            *_periodic_task_metrics(session),
            _outbox_metrics(session),
            _trainer_metrics(session, heartbeat_seconds),
        ]

    def collect(self) -> Iterable[Metric]:
        return self._families


def _job_metrics(session: Session) -> list[Metric]:
    counts = select(Job.state, func.count()).group_by(Job.state)
    found = dict(session.execute(counts).all())
    jobs = GaugeMetricFamily("luthier_jobs", "Jobs by state", labels=["state"])
    for state in JOB_STATES:
        jobs.add_metric([state], found.get(state, 0))
    due = select(func.min(Job.run_after)).where(Job.state == "queued")
    waited = func.clock_timestamp() - due.scalar_subquery()
    seconds = session.scalar(select(func.greatest(extract("epoch", waited), 0)))
    oldest = GaugeMetricFamily(
        "luthier_queue_oldest_seconds",
        "How long the longest waiting job could have been training",
        value=float(seconds or 0),
    )
    return [jobs, oldest]


def _periodic_task_metrics(session: Session) -> list[Metric]:
    last = GaugeMetricFamily(
        "luthier_duty_last_success_timestamp_seconds",
        "When a duty was last done",
        labels=["duty"],
    )
    period = GaugeMetricFamily(
        "luthier_duty_period_seconds", "How often a duty is to be done", labels=["duty"]
    )
    for standing in periodic_tasks.task_statuses(session):
        last.add_metric([standing.name], standing.last_succeeded_at.timestamp())
        period.add_metric([standing.name], standing.interval_seconds)
    return [last, period]


def _outbox_metrics(session: Session) -> Metric:
    rows = select(Outbox.kind, func.count()).where(Outbox.done_at.is_(None)).group_by(Outbox.kind)
    waiting = GaugeMetricFamily(
        "luthier_outbox_waiting", "Deliveries that are still to be made", labels=["kind"]
    )
    for kind, count in session.execute(rows):
        waiting.add_metric([kind], count)
    return waiting


def _trainer_metrics(session: Session, heartbeat_seconds: float) -> Metric:
    there = GaugeMetricFamily("luthier_trainers", "Trainers that are there", labels=["state"])
    states = trainers.count_by_state(session, heartbeat_seconds=heartbeat_seconds)
    for state in ("active", "draining", trainers.UNHEALTHY):
        there.add_metric([state], states[state])
    return there
