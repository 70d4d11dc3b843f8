"""Time buckets of usage queries: aligned to UTC, a page of them at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from app.errors import InvalidRequest

# The year 9999: Postgres knows later times, Python's datetime does not.
MAX_UNIX_SECONDS = 253_402_300_799
MAX_QUOTED_CHARS = 40


class BucketWidth(StrEnum):
    """Width of a bucket."""

    MINUTE = "1m"
    HOUR = "1h"
    DAY = "1d"


SECONDS = {BucketWidth.MINUTE: 60, BucketWidth.HOUR: 3600, BucketWidth.DAY: 86_400}


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Times from `start` to before `end`, in Unix seconds, cut into buckets of `width` seconds.

    The first and the last bucket are cut off where the range begins and ends.
    """

    start: int
    end: int
    width: int

    def buckets(self) -> Iterator[tuple[int, int]]:
        """Yield the start and the end of each bucket."""
        start = self.start
        while start < self.end:
            end = min(self.index(start) * self.width + self.width, self.end)
            yield start, end
            start = end

    def index(self, moment: int) -> int:
        """Number of the bucket of a time, counted from 1970."""
        return moment // self.width


def select_page(
    *, start: int, end: int, width: BucketWidth, limit: int, page: str | None
) -> tuple[TimeRange, str | None]:
    """Select the range of a page of at most `limit` buckets, and the cursor of the next page.

    A page of 0 buckets, which the SDKs' own test suites request, is the last: a client that goes on
    while there are more would never end. Raises InvalidRequest if the range ends before it starts,
    and for a cursor that is not of this range.
    """
    if end < start:
        raise InvalidRequest(
            f"'end_time' ({end}) must not be before 'start_time' ({start}).", param="end_time"
        )
    seconds = SECONDS[width]
    if start == end:
        return TimeRange(start, end, seconds), None
    begin = start if page is None else _parse_page(page, start, end)
    if limit == 0:
        return TimeRange(begin, begin, seconds), None
    stop = (begin // seconds + limit) * seconds
    if stop >= end:
        return TimeRange(begin, end, seconds), None
    return TimeRange(begin, stop, seconds), f"page_{stop}"


def _parse_page(page: str, start: int, end: int) -> int:
    """Parse the time of a page's begin. Raises InvalidRequest for one outside of the range."""
    digits = page.removeprefix("page_")
    is_number = page != digits and digits.isascii() and digits.isdecimal() and len(digits) <= 12
    if not (is_number and start < int(digits) < end):
        raise InvalidRequest(
            "Invalid 'page': expected the `next_page` of an answer to the same query, but got "
            f"{page[:MAX_QUOTED_CHARS]!r}.",
            param="page",
            code="invalid_value",
        )
    return int(digits)
