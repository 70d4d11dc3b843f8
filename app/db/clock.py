"""The database's clock, which all timestamps are compared by, since machines' clocks differ."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session


def now(session: Session) -> datetime:
    """Read the current time."""
    moment: datetime = session.scalars(select(func.clock_timestamp())).one()
    return moment


def seconds_from_now(seconds: float | ColumnElement[Any]) -> ColumnElement[Any]:
    """Build the SQL expression for a time `seconds` from now, or before now if negative."""
    return func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def subtract_from_now(delta: timedelta) -> ColumnElement[Any]:
    """Build the SQL expression for the time `delta` before now."""
    return func.clock_timestamp() - delta
