"""How much a key may ask for in a minute: a bucket of requests and one of bytes, in Valkey.

One round trip per request, for all API processes together. While Valkey does not answer within a
tenth of a second, each process counts for itself: a limit must not make the service fail.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app import logs

log = logs.get_logger(__name__)

WINDOW_SECONDS = 60
VALKEY_TIMEOUT_SECONDS = 0.1
VALKEY_COOLDOWN_SECONDS = 2.0
MAX_CONNECTIONS = 50
# Of the buckets that a process keeps by itself, those used last.
MAX_LOCAL_BUCKETS = 10_000
# Both buckets are full at first and fill within a minute. The bytes of a request are taken whole,
# if there is at least one: a file may be larger than its bucket, and is then paid off by waiting.
TAKE_SCRIPT = """
local function level(value, limit, passed)
    return math.min(limit, (tonumber(value) or limit) + passed * limit / ARGV[4])
end
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local kept = redis.call('HMGET', KEYS[1], 'requests', 'bytes', 'at')
local passed = math.max(0, now - (tonumber(kept[3]) or now))
local requests = level(kept[1], tonumber(ARGV[1]), passed)
local bytes = level(kept[2], tonumber(ARGV[2]), passed)
local count = tonumber(ARGV[6])
local allowed = count == 0 or (requests >= 1 and bytes >= 1)
if allowed then
    requests = requests - count
    bytes = bytes - tonumber(ARGV[3])
end
redis.call('HSET', KEYS[1], 'requests', requests, 'bytes', bytes, 'at', tostring(now))
redis.call('EXPIRE', KEYS[1], ARGV[5])
return {allowed and 1 or 0, tostring(requests), tostring(bytes)}
"""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Of one key, a minute."""

    requests: int
    bytes: int


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """Where a key stands after a request; the levels are below 1 when it was refused."""

    limit: RateLimit
    allowed: bool
    remaining_requests: float
    remaining_bytes: float

    @property
    def retry_after(self) -> float:
        """Seconds until a request like this one may come again."""
        return max(
            _seconds_until(1 - self.remaining_requests, self.limit.requests),
            _seconds_until(1 - self.remaining_bytes, self.limit.bytes),
        )

    def headers(self) -> dict[str, str]:
        """As OpenAI writes them; `reset` is the time until the bucket is full again."""
        full = _seconds_until(self.limit.requests - self.remaining_requests, self.limit.requests)
        told = {
            "x-ratelimit-limit-requests": str(self.limit.requests),
            "x-ratelimit-remaining-requests": str(max(0, math.floor(self.remaining_requests))),
            "x-ratelimit-reset-requests": format_duration(full),
        }
        if not self.allowed:
            told["retry-after"] = str(max(1, math.ceil(self.retry_after)))
            told["retry-after-ms"] = str(math.ceil(self.retry_after * 1000))
        return told


class RateLimiter:
    """Takes from the buckets of keys. One per process and event loop; `close` it at the end."""

    def __init__(
        self, redis_url: str, limit: RateLimit, *, timeout: float = VALKEY_TIMEOUT_SECONDS
    ) -> None:
        self.limit = limit
        self._redis = Redis.from_url(
            redis_url.replace("redis+socket://", "unix://", 1),
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            max_connections=MAX_CONNECTIONS,
        )
        self._take_script = self._redis.register_script(TAKE_SCRIPT)
        self._fallback = InMemoryRateLimiter(limit)
        self._fallback_until = 0.0

    async def take(self, key_id: str, size: int, *, count: int = 1) -> RateLimitStatus:
        """Take one request of `size` bytes from a key's buckets. Never raises.

        With a count of 0 the bytes are taken whatever is left: they have come already.
        """
        if time.monotonic() < self._fallback_until:
            return self._fallback.take(key_id, size, count=count)
        limits = self.limit
        arguments = [limits.requests, limits.bytes, size, WINDOW_SECONDS, 2 * WINDOW_SECONDS, count]
        answer = cast(
            Awaitable[list[bytes]], self._take_script([f"luthier:rate:{key_id}"], arguments)
        )
        try:
            allowed, requests, left = await answer
        except (RedisError, OSError) as error:
            self._fallback_until = time.monotonic() + VALKEY_COOLDOWN_SECONDS
            log.warning("rates.counted_locally", reason=repr(error))
            return self._fallback.take(key_id, size, count=count)
        return RateLimitStatus(limits, bool(allowed), float(requests), float(left))

    async def close(self) -> None:
        await self._redis.aclose()


class InMemoryRateLimiter:
    """The same buckets in the memory of one process."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._buckets: OrderedDict[str, tuple[float, float, float]] = OrderedDict()

    def take(self, name: str, size: int = 0, *, count: int = 1) -> RateLimitStatus:
        """As `Rates.take`."""
        now = time.monotonic()
        limits = self._limit
        requests, left, at = self._buckets.pop(name, (limits.requests, limits.bytes, now))
        requests = _refill(requests, limits.requests, now - at)
        left = _refill(left, limits.bytes, now - at)
        allowed = count == 0 or (requests >= 1 and left >= 1)
        if allowed:
            requests, left = requests - count, left - size
        self._buckets[name] = (requests, left, now)
        if len(self._buckets) > MAX_LOCAL_BUCKETS:
            self._buckets.popitem(last=False)
        return RateLimitStatus(limits, allowed, requests, left)


def format_duration(seconds: float) -> str:
    """A time as Go writes it: `17ms`, `1s`, `6m0s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _refill(kept: float, limit: int, passed: float) -> float:
    return min(float(limit), kept + passed * limit / WINDOW_SECONDS)


def _seconds_until(missing: float, limit: int) -> float:
    return max(0.0, missing) * WINDOW_SECONDS / limit
