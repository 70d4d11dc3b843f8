"""The database's clock, the only one that timestamps are compared by: machines' clocks differ."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session


def now(session: Session) -> datetime:
    """Read the current time."""
    moment: datetime = session.scalars(select(func.clock_timestamp())).one()
    return moment


def seconds_from_now(seconds: float | ColumnElement[Any]) -> ColumnElement[Any]:
    """SQL expression for a time in so many seconds; negative ones are in the past."""
    return func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def ago(time: timedelta) -> ColumnElement[Any]:
    """SQL expression for a time in the past."""
    return func.clock_timestamp() - time
