"""The database's clock. Moments are compared by it alone, since the clocks of machines differ."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session


def now(session: Session) -> datetime:
    """What it shows."""
    now: datetime = session.scalars(select(func.clock_timestamp())).one()
    return now


def seconds_from_now(seconds: float | ColumnElement[Any]) -> ColumnElement[Any]:
    """A moment from now, or before it, for a statement."""
    return func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def ago(time: timedelta) -> ColumnElement[Any]:
    """A moment before now, for a statement."""
    return func.clock_timestamp() - time
