"""Token buckets of requests and bytes: shared through Valkey, in memory while it is down."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from app.http.rate_limits import (
    InMemoryRateLimiter,
    RateLimit,
    RateLimiter,
    RateLimitStatus,
    format_duration,
)
from app.ids import random_alphanumeric

# Nothing listens there.
DEAD = "redis://127.0.0.1:1/0"
Requests = Callable[[RateLimiter], Awaitable[list[RateLimitStatus]]]


def run(url: str, limit: RateLimit, requests: Requests) -> list[RateLimitStatus]:
    async def run_all() -> list[RateLimitStatus]:
        # Long, since the machine may be busy.
        limiter = RateLimiter(url, limit, timeout=60)
        try:
            return list(await requests(limiter))
        finally:
            await limiter.close()

    return asyncio.run(run_all())


@pytest.fixture(params=["valkey", "memory"])
def url(request: pytest.FixtureRequest, redis_url: str) -> str:
    return redis_url if request.param == "valkey" else DEAD


class TestTake:
    def test_requests_up_to_the_limit(self, url: str) -> None:
        key = random_alphanumeric(8)

        async def requests(limiter: RateLimiter) -> list[RateLimitStatus]:
            return [await limiter.take(key, 0) for _ in range(4)]

        got = run(url, RateLimit(requests=3, bytes=100), requests)
        assert [rate.allowed for rate in got] == [True, True, True, False]
        assert [int(rate.remaining_requests) for rate in got] == [2, 1, 0, 0]
        headers = got[-1].headers()
        assert headers["x-ratelimit-limit-requests"] == "3"
        assert headers["x-ratelimit-remaining-requests"] == "0"
        assert headers["x-ratelimit-reset-requests"] == format_duration(
            60 - 20 * got[-1].remaining_requests
        )
        # At 3 per minute, one is refilled in 20 seconds, of which some have passed.
        assert 1 <= int(headers["retry-after"]) <= 20
        assert int(headers["retry-after-ms"]) <= 20_000
        assert (
            RateLimitStatus(
                got[-1].limit, False, remaining_requests=0, remaining_bytes=1
            ).retry_after
            == 20
        )

    def test_body_larger_than_the_bucket_goes_into_debt(self, url: str) -> None:
        key = random_alphanumeric(8)

        async def requests(limiter: RateLimiter) -> list[RateLimitStatus]:
            return [await limiter.take(key, 250), await limiter.take(key, 0)]

        first, second = run(url, RateLimit(requests=10, bytes=100), requests)
        assert (first.allowed, second.allowed) == (True, False)
        assert first.remaining_bytes == -150
        # 151 bytes at 100 per minute.
        assert second.retry_after == pytest.approx((1 - second.remaining_bytes) * 60 / 100)
        assert -150 <= second.remaining_bytes < 1

    def test_received_bytes_are_taken_unconditionally(self, url: str) -> None:
        key = random_alphanumeric(8)

        async def requests(limiter: RateLimiter) -> list[RateLimitStatus]:
            return [await limiter.take(key, 70, count=0) for _ in range(2)]

        got = run(url, RateLimit(requests=10, bytes=100), requests)
        # It refills in between, by as much as the machine is slow.
        assert got[0].remaining_bytes == pytest.approx(30)
        assert -40 <= got[1].remaining_bytes < 30
        assert [round(rate.remaining_requests) for rate in got] == [10, 10]

    def test_each_key_has_its_own_bucket(self, url: str) -> None:
        first, second = random_alphanumeric(8), random_alphanumeric(8)

        async def requests(limiter: RateLimiter) -> list[RateLimitStatus]:
            return [await limiter.take(key, 0) for key in (first, first, second)]

        got = run(url, RateLimit(requests=1, bytes=100), requests)
        assert [rate.allowed for rate in got] == [True, False, True]

    def test_bucket_refills(self, url: str) -> None:
        key = random_alphanumeric(8)

        async def requests(limiter: RateLimiter) -> list[RateLimitStatus]:
            emptied = await limiter.take(key, 6001)
            again = await limiter.take(key, 0)
            # No longer than reported; a slow machine need not wait at all.
            await asyncio.sleep(again.retry_after)
            return [emptied, await limiter.take(key, 0)]

        # Emptied first; refills at 100 bytes per second.
        emptied, again = run(url, RateLimit(requests=1000, bytes=6000), requests)
        assert emptied.remaining_bytes == -1
        assert again.allowed


def test_processes_share_a_bucket(redis_url: str) -> None:
    key = random_alphanumeric(8)

    async def once(limiter: RateLimiter) -> list[RateLimitStatus]:
        return [await limiter.take(key, 0)]

    got = [run(redis_url, RateLimit(requests=2, bytes=1), once)[0] for _ in range(3)]
    assert [rate.allowed for rate in got] == [True, True, False]


def test_concurrent_requests_do_not_exceed_the_limit(redis_url: str) -> None:
    key = random_alphanumeric(8)

    async def requests(limiter: RateLimiter) -> list[RateLimitStatus]:
        return list(await asyncio.gather(*(limiter.take(key, 0) for _ in range(40))))

    began = time.monotonic()
    got = run(redis_url, RateLimit(requests=25, bytes=1), requests)
    # Refilled meanwhile, depending on how slow the machine is.
    more = (time.monotonic() - began) * 25 / 60
    assert 25 <= sum(rate.allowed for rate in got) <= 25 + more


def test_memory_keeps_a_bounded_number_of_buckets() -> None:
    buckets = InMemoryRateLimiter(RateLimit(requests=1, bytes=1))
    for number in range(10_001):
        buckets.take(str(number))
    assert buckets.take("0").allowed, "the oldest was forgotten"
    assert not buckets.take("10000").allowed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.0165, "17ms"), (1, "1s"), (59.2, "1m0s"), (360, "6m0s"), (90, "1m30s")],
)
def test_durations_in_gos_notation(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
