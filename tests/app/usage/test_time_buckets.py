"""Buckets of time: aligned, cut at the ends of the range, and in pages that lose none."""

import pytest

from app.errors import InvalidRequest
from app.usage.time_buckets import SECONDS, BucketWidth, select_page

DAY = 86_400


def collect(start: int, end: int, width: BucketWidth, limit: int) -> list[tuple[int, int]]:
    buckets: list[tuple[int, int]] = []
    page: str | None = None
    while True:
        times, page = select_page(start=start, end=end, width=width, limit=limit, page=page)
        found = list(times.buckets())
        assert 1 <= len(found) <= limit
        buckets += found
        if page is None:
            return buckets


@pytest.mark.parametrize("width", BucketWidth)
@pytest.mark.parametrize("limit", [1, 2, 31])
def test_pages_cover_the_range_without_gaps(width: BucketWidth, limit: int) -> None:
    seconds = SECONDS[width]
    start, end = 20 * seconds + 7, 26 * seconds + 3
    buckets = collect(start, end, width, limit)
    assert (buckets[0][0], buckets[-1][1]) == (start, end)
    assert [before[1] for before in buckets[:-1]] == [after[0] for after in buckets[1:]]
    assert all(bucket[0] % seconds == 0 for bucket in buckets[1:])
    assert len(buckets) == 7


@pytest.mark.parametrize(
    "page", ["page_", "page_1x", "page_0", "page_99999999999999", "1", "page_²", "page_-5"]
)
def test_an_unknown_cursor_is_refused(page: str) -> None:
    with pytest.raises(InvalidRequest, match="Invalid 'page'") as refused:
        select_page(start=DAY, end=5 * DAY, width=BucketWidth.DAY, limit=1, page=page)
    assert refused.value.body()["error"]["param"] == "page"


def test_a_page_of_no_buckets_is_the_last() -> None:
    times, next_page = select_page(
        start=DAY, end=5 * DAY, width=BucketWidth.DAY, limit=0, page=None
    )
    assert (list(times.buckets()), next_page) == ([], None)


def test_an_empty_range_has_no_buckets_and_a_reversed_one_is_refused() -> None:
    times, _ = select_page(start=DAY, end=DAY, width=BucketWidth.DAY, limit=1, page="page")
    assert list(times.buckets()) == []
    with pytest.raises(InvalidRequest, match="before 'start_time'"):
        select_page(start=DAY, end=DAY - 1, width=BucketWidth.DAY, limit=1, page=None)
