"""Keyset pages: a page starts behind the row that `after` names, whatever was added meanwhile."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import Session

from app.errors import InvalidRequest

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows of a list, and whether there are more behind them."""

    rows: list[Row]
    has_more: bool


def fetch(session: Session, statement: Select[Row], *, limit: int) -> Page[Row]:
    """The first `limit` rows of an ordered statement."""
    # One more than asked for: its presence is the answer to "are there more?".
    rows = list(session.scalars(statement.limit(limit + 1)))
    return Page(rows[:limit], len(rows) > limit)


def start(session: Session, named: Select[Row], after: str) -> Row:
    """The one row that a statement finds for `after`.

    Raises InvalidRequest if it finds none, since any page would be a wrong one.
    """
    row = session.scalars(named).one_or_none()
    if row is None:
        raise InvalidRequest(
            f"Invalid 'after': there is no item '{after}' in this list. Start again without it.",
            param="after",
            code="invalid_value",
        )
    return row
