"""Curves of a job's metrics, downsampled in the database to what a chart can show.

By M4 (Jugel et al., "M4: A Visualization-Oriented Time Series Data Aggregation", VLDB 2014): the
steps are divided into ranges of equal length, and of each range a curve keeps its first, last,
lowest and highest point, so that a line drawn through them looks like one through all.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    Integer,
    Numeric,
    Row,
    Text,
    any_,
    case,
    cast,
    func,
    literal,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, array
from sqlalchemy.orm import Session

from app.db.tables import Job, JobMetric

POINTS_PER_RANGE = 4
SAMPLED_STEPS = 64

Conditions = tuple[ColumnElement[bool], ...]
# Values of one metric by step.
Points = dict[int, float]


@dataclass(frozen=True, slots=True)
class Curves:
    """Points of each metric by name, in the order of their steps.

    `last_step` is the newest one that has metrics, `count` the number of steps with metrics.
    """

    points: dict[str, Points]
    last_step: int
    count: int
    is_downsampled: bool


def read_curves(session: Session, job_id: str, *, after_step: int, max_points: int) -> Curves:
    """Read the metrics of a job after a step: at most about `max_points` of each."""
    following = (JobMetric.job_id == job_id, JobMetric.step > after_step)
    rows = _read_rows(session, following, limit=max_points + 1)
    if len(rows) > max_points:
        return _downsample(session, following, ranges=max_points // POINTS_PER_RANGE)
    last_step = rows[-1].step if rows else after_step
    return Curves(_collect(rows), last_step, len(rows), is_downsampled=False)


def _downsample(session: Session, following: Conditions, *, ranges: int) -> Curves:
    first, last = session.execute(
        select(func.min(JobMetric.step), func.max(JobMetric.step)).where(*following)
    ).one()
    if first is None:
        # Deleted meanwhile: the job began again with other data.
        return Curves({}, 0, 0, is_downsampled=False)
    # Without the steps that are reported meanwhile.
    chosen = (*following, JobMetric.step <= last)
    names = _list_names(session, chosen)
    points: dict[str, Points] = {name: {} for name in names}
    ends: dict[str, set[int]] = {name: set() for name in names}
    count = 0
    for row in _read_ranges(session, chosen, names, first, last, ranges):
        columns: Sequence[Any] = row[1:]
        count += row[0]
        for index, name in enumerate(names):
            earliest, latest, lowest, highest = columns[4 * index : 4 * index + 4]
            if earliest is not None:
                ends[name] |= {earliest, latest}
                points[name] |= {int(step): value for value, step in (lowest, highest)}
    steps = literal(sorted(set().union(*ends.values())), ARRAY(Integer))
    for step, values in _read_rows(session, (*chosen, JobMetric.step == any_(steps))):
        for name, value in values.items():
            # A later attempt may report a metric that the step did not have when it was listed.
            if step in ends.get(name, ()):
                points[name][step] = float(value)
    return Curves(_sort(points), last, count, is_downsampled=True)


def _list_names(session: Session, chosen: Conditions) -> list[str]:
    """List the names of the metrics of some steps.

    Most steps have the same ones: the steps are searched for others, once for each group of names.
    """
    names: list[str] = []
    while True:
        others = JobMetric.values.op("-", return_type=JSONB())(cast(names, ARRAY(Text)))
        found: Any = session.scalars(select(others).where(*chosen, others != {}).limit(1)).first()
        if not found:
            return names
        names += found


def _read_ranges(
    session: Session, chosen: Conditions, names: Sequence[str], first: int, last: int, ranges: int
) -> Iterable[Row[Any]]:
    """Read of each range of steps the number of its steps, and four columns of each metric.

    They are its first and last step, and its lowest and highest [value, step], null in a range
    without the metric. Each value is read from its JSON once, and compared as it is stored there.
    """
    number = cast(JobMetric.step - first, BigInteger) * ranges // literal(last - first + 1, Integer)
    step = cast(JobMetric.step, Numeric)
    points = [
        case(
            (JobMetric.values.has_key(name), array([cast(JobMetric.values[name], Numeric), step]))
        ).label(f"point_{index}")
        for index, name in enumerate(names)
    ]
    # The offset keeps the planner from computing a column for each function of it.
    steps = select(JobMetric.step, number.label("number"), *points).where(*chosen).offset(0)
    table = steps.subquery()
    columns: list[ColumnElement[Any]] = []
    for index in range(len(names)):
        point = table.c[f"point_{index}"]
        columns += [
            func.min(table.c.step).filter(point.is_not(None)),
            func.max(table.c.step).filter(point.is_not(None)),
            cast(func.min(point), ARRAY(Float)),
            cast(func.max(point), ARRAY(Float)),
        ]
    return session.execute(select(func.count(), *columns).group_by(table.c.number))


def _read_rows(
    session: Session, chosen: Conditions, *, limit: int | None = None
) -> Sequence[Row[int, dict[str, float]]]:
    statement = select(JobMetric.step, JobMetric.values).where(*chosen)
    return session.execute(statement.order_by(JobMetric.step).limit(limit)).all()


def _collect(rows: Iterable[Row[int, dict[str, float]]]) -> dict[str, Points]:
    points: dict[str, Points] = {}
    for step, values in rows:
        for name, value in values.items():
            points.setdefault(name, {})[step] = float(value)
    return _sort(points)


def _sort(points: dict[str, Points]) -> dict[str, Points]:
    return {name: dict(sorted(points[name].items())) for name in sorted(points)}


def sample_losses(session: Session, job_ids: Sequence[str]) -> dict[str, dict[int, float]]:
    """Read the training loss of jobs at `SAMPLED_STEPS` steps at equal distances, by job id.

    A long job costs as much as a short one: each point is found by the index.
    """
    is_of_job = JobMetric.job_id == Job.id
    steps = func.min(JobMetric.step).label("first"), func.max(JobMetric.step).label("last")
    bounds = select(*steps).where(is_of_job).lateral("bounds")
    numbers = (
        func.generate_series(0, SAMPLED_STEPS - 1).table_valued("number").render_derived("numbers")
    )
    distance = cast(bounds.c.last - bounds.c.first, BigInteger) * numbers.c.number
    wanted = bounds.c.first + distance // literal(SAMPLED_STEPS - 1, Integer)
    loss = JobMetric.values["train_loss"]
    point = (
        select(JobMetric.step, loss.label("loss"))
        .where(is_of_job, JobMetric.step >= wanted)
        .order_by(JobMetric.step)
        .limit(1)
        .lateral("point")
    )
    statement = (
        select(Job.id, point.c.step, cast(point.c.loss, Float))
        .select_from(Job)
        .join(bounds, true())
        .join(numbers, true())
        .join(point, true())
        .where(Job.id.in_(job_ids), func.jsonb_typeof(point.c.loss) == "number")
        .order_by(Job.id, point.c.step)
    )
    curves: dict[str, dict[int, float]] = {}
    for job_id, step, value in session.execute(statement):
        curves.setdefault(job_id, {})[step] = value
    return curves
