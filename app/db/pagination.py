"""Keyset pagination: rows added meanwhile do not shift later pages."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import Session

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Rows of one page; `has_more` is true if others follow."""

    rows: list[Row]
    has_more: bool


# Shared by all row types, since it holds no rows.
EMPTY_PAGE: Page[Any] = Page([], has_more=False)


def fetch_page(session: Session, statement: Select[Row], *, limit: int) -> Page[Row]:
    """Fetch the first `limit` rows of an ordered statement.

    A page of 0 rows, which the SDKs' own test suites request, is the last: it has no cursor by
    which others could follow, and a client that goes on while there are more would never end.
    """
    # One more row than the page holds shows whether there are more.
    rows = list(session.scalars(statement.limit(limit + 1)))
    return Page(rows[:limit], 0 < limit < len(rows))


def fetch_page_by_age(
    session: Session,
    rows: Select[Row],
    *,
    cursor_rows: Select[Row],
    after: str | None,
    limit: int,
    oldest_first: bool = False,
    sort_columns: tuple[Any, Any] | None = None,
    by: str = "created_at",
) -> Page[Row]:
    """Fetch a page of rows sorted by creation time, or another time `by`, then id; newest first by
    default.

    `after` is an id among `cursor_rows`, which include deleted rows where the table keeps them: a
    row that is deleted while a client pages must not end its paging. `sort_columns` are the
    creation time and the id in another table, if that one has the index to use.
    """
    table: Any = rows.column_descriptions[0]["entity"]
    columns = sort_columns or (getattr(table, by), table.id)
    if after is not None:
        cursor: Any = find_cursor_row(session, cursor_rows.where(table.id == after))
        if cursor is None:
            return EMPTY_PAGE
        position, start = tuple_(*columns), (getattr(cursor, by), cursor.id)
        rows = rows.where(position > start if oldest_first else position < start)
    ordered = columns if oldest_first else [column.desc() for column in columns]
    return fetch_page(session, rows.order_by(*ordered), limit=limit)


def find_cursor_row(session: Session, cursor_rows: Select[Row]) -> Row | None:
    """Find the row that `after` names; after an unknown one the page is empty.

    An error would help with mistyped ids, but the SDKs' own test suites expect an empty page.
    """
    return session.scalars(cursor_rows).one_or_none()
