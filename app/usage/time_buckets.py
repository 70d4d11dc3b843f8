"""Time buckets of usage queries: aligned to UTC, a page of them at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from app.errors import InvalidRequest

# The year 9999: Postgres knows later times, Python's datetime does not.
MAX_UNIX_SECONDS = 253_402_300_799


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

    Behind an unknown cursor there is nothing, as in lists. Raises InvalidRequest if the range ends
    before it starts.
    """
    if end < start:
        raise InvalidRequest(
            f"'end_time' ({end}) must not be before 'start_time' ({start}).", param="end_time"
        )
    seconds = SECONDS[width]
    begin = start if page is None else _parse_page(page, start, end)
    stop = (begin // seconds + limit) * seconds
    if stop >= end:
        return TimeRange(begin, end, seconds), None
    return TimeRange(begin, stop, seconds), f"page_{stop}"


def _parse_page(page: str, start: int, end: int) -> int:
    """Where a page begins: at the end of the range if the cursor is of another."""
    digits = page.removeprefix("page_")
    is_number = page != digits and digits.isascii() and digits.isdecimal() and len(digits) <= 12
    return int(digits) if is_number and start < int(digits) < end else end
