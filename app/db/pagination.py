"""Keyset pages: a page starts behind the row that `after` names, whatever was added meanwhile."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import Session

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows of a list, and whether there are more behind them."""

    rows: list[Row]
    has_more: bool


# Callers of any list may return it: it holds no row.
EMPTY_PAGE: Page[Any] = Page([], has_more=False)


def fetch_page(session: Session, statement: Select[Row], *, limit: int) -> Page[Row]:
    """The first `limit` rows of an ordered statement."""
    # One more than asked for: its presence is the answer to "are there more?".
    rows = list(session.scalars(statement.limit(limit + 1)))
    return Page(rows[:limit], len(rows) > limit)


def page_by_age(
    session: Session,
    rows: Select[Row],
    *,
    cursor_rows: Select[Row],
    after: str | None,
    limit: int,
    oldest_first: bool = False,
    sort_columns: tuple[Any, Any] | None = None,
) -> Page[Row]:
    """A page of rows that have an id and a moment of creation, the newest first unless told.

    `after` is looked for among `named`: also rows that are gone, as far as those stay in the
    table, since one that goes while a client pages must not end its paging. `place` are the moment
    and the id in another table than the rows' own, if that one has the index.
    """
    table: Any = rows.column_descriptions[0]["entity"]
    columns = sort_columns or (table.created_at, table.id)
    if after is not None:
        last: Any = find_cursor_row(session, cursor_rows.where(table.id == after))
        if last is None:
            return EMPTY_PAGE
        here, behind = tuple_(*columns), (last.created_at, last.id)
        rows = rows.where(here > behind if oldest_first else here < behind)
    ordered = columns if oldest_first else [column.desc() for column in columns]
    return fetch_page(session, rows.order_by(*ordered), limit=limit)


def find_cursor_row(session: Session, cursor_rows: Select[Row]) -> Row | None:
    """The one row that a statement finds for `after`; nothing comes behind one that is not there.

    An error would be kinder to whoever mistyped it, but clients' own tests rely on an answer.
    """
    return session.scalars(cursor_rows).one_or_none()
