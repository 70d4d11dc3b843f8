"""Curves of a job's metrics, downsampled in the database to what a chart can show.

By M4 (Jugel et al., "M4: A Visualization-Oriented Time Series Data Aggregation", VLDB 2014): the
steps are divided into ranges of equal length, and of each range a curve keeps its first, last,
lowest and highest point, so that a line drawn through them looks like one through all.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import BigInteger, Float, Integer, Row, cast, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB, array
from sqlalchemy.orm import Session
from sqlalchemy.sql import column

from app.db.tables import JobMetric

POINTS_PER_RANGE = 4
# Name of a metric; (step, value) of its first and last point, (value, step) of the extreme ones.
Extremes = Row[str, list[float], list[float], list[float], list[float]]


@dataclass(frozen=True, slots=True)
class Curves:
    """Points of each metric by name, in the order of their steps.

    `last_step` is the newest one that has metrics, `count` the number of steps with metrics.
    """

    points: dict[str, dict[int, float]]
    last_step: int
    count: int
    is_downsampled: bool


def read_curves(session: Session, job_id: str, *, after_step: int, max_points: int) -> Curves:
    """Read the metrics of a job after a step: at most about `max_points` of each."""
    is_chosen = (JobMetric.job_id == job_id, JobMetric.step > after_step)
    count, first, last = session.execute(
        select(func.count(), func.min(JobMetric.step), func.max(JobMetric.step)).where(*is_chosen)
    ).one()
    if not count:
        return Curves({}, after_step, 0, is_downsampled=False)
    is_downsampled = count > max_points
    # With a range for each step every point is kept.
    ranges = max_points // POINTS_PER_RANGE if is_downsampled else last - first + 1
    rows = _read_ranges(session, job_id, first=first, last=last, ranges=ranges)
    return Curves(_collect(rows), last, count, is_downsampled)


def _read_ranges(
    session: Session, job_id: str, *, first: int, last: int, ranges: int
) -> Iterable[Extremes]:
    """Read the first, last, lowest and highest point of each metric in each range of steps."""
    metric = func.jsonb_each(JobMetric.values).table_valued("key", column("value", JSONB))
    step, value = cast(JobMetric.step, Float), cast(metric.c.value, Float)
    number = cast(JobMetric.step - first, BigInteger) * ranges / literal(last - first + 1, Integer)
    by_step, by_value = array([step, value]), array([value, step])
    statement = (
        select(
            metric.c.key,
            func.min(by_step),
            func.max(by_step),
            func.min(by_value),
            func.max(by_value),
        )
        .select_from(JobMetric)
        .join(metric, literal(True))
        .where(
            JobMetric.job_id == job_id,
            JobMetric.step.between(first, last),
            func.jsonb_typeof(metric.c.value) == "number",
        )
        .group_by(metric.c.key, func.floor(number))
    )
    return session.execute(statement)


def _collect(rows: Iterable[Extremes]) -> dict[str, dict[int, float]]:
    points: dict[str, dict[int, float]] = {}
    for name, earliest, latest, lowest, highest in rows:
        of_metric = points.setdefault(name, {})
        for step, value in (earliest, latest, lowest[::-1], highest[::-1]):
            of_metric[int(step)] = value
    return {name: dict(sorted(points[name].items())) for name in sorted(points)}
