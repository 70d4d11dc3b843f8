"""Rate limits per API key: token buckets of requests and bytes, shared through Valkey.

One round trip per request, for all API processes together. While Valkey does not answer within a
tenth of a second, each process counts in its own memory: a rate limiter must not take the service
down.
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
# In memory; beyond this the least recently used bucket is dropped.
MAX_LOCAL_BUCKETS = 10_000
# Both buckets start full and refill within a minute. If the bucket holds at least one byte, all
# bytes of a request are taken: a file may be larger than its bucket, which then goes into debt and
# is refilled by waiting.
TAKE_SCRIPT = """
local function level(value, limit, elapsed)
    return math.min(limit, (tonumber(value) or limit) + elapsed * limit / ARGV[4])
end
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local stored = redis.call('HMGET', KEYS[1], 'requests', 'bytes', 'at')
local elapsed = math.max(0, now - (tonumber(stored[3]) or now))
local requests = level(stored[1], tonumber(ARGV[1]), elapsed)
local bytes = level(stored[2], tonumber(ARGV[2]), elapsed)
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
    """Limit of one key, per minute."""

    requests: int
    bytes: int


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """A key's buckets after a request. A level below 1 means that the request was rejected."""

    limit: RateLimit
    allowed: bool
    remaining_requests: float
    remaining_bytes: float

    @property
    def retry_after(self) -> float:
        """Seconds until a request may be sent again."""
        return max(
            _seconds_until(1 - self.remaining_requests, self.limit.requests),
            _seconds_until(1 - self.remaining_bytes, self.limit.bytes),
        )

    def headers(self) -> dict[str, str]:
        """OpenAI's `x-ratelimit-*` headers; `reset` is the time until the bucket is full again."""
        until_full = _seconds_until(
            self.limit.requests - self.remaining_requests, self.limit.requests
        )
        headers = {
            "x-ratelimit-limit-requests": str(self.limit.requests),
            "x-ratelimit-remaining-requests": str(max(0, math.floor(self.remaining_requests))),
            "x-ratelimit-reset-requests": format_duration(until_full),
        }
        if not self.allowed:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after)))
            headers["retry-after-ms"] = str(math.ceil(self.retry_after * 1000))
        return headers


class RateLimiter:
    """Token buckets in Valkey, in memory while Valkey is unavailable (a circuit breaker).

    One per process and event loop; `close` it at the end.
    """

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

        With `count=0`, the bytes are taken whatever the buckets hold, for bytes already received.
        """
        if time.monotonic() < self._fallback_until:
            return self._fallback.take(key_id, size, count=count)
        limit = self.limit
        arguments = [limit.requests, limit.bytes, size, WINDOW_SECONDS, 2 * WINDOW_SECONDS, count]
        reply = cast(
            Awaitable[list[bytes]], self._take_script([f"luthier:rate:{key_id}"], arguments)
        )
        try:
            allowed, requests, bytes_ = await reply
        except (RedisError, OSError) as error:
            self._fallback_until = time.monotonic() + VALKEY_COOLDOWN_SECONDS
            log.warning("rate_limits.valkey_unavailable", reason=repr(error))
            return self._fallback.take(key_id, size, count=count)
        return RateLimitStatus(limit, bool(allowed), float(requests), float(bytes_))

    async def close(self) -> None:
        await self._redis.aclose()


class InMemoryRateLimiter:
    """The same token buckets in the memory of one process."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        # Remaining requests, remaining bytes, time of their update; least recently used first.
        self._buckets: OrderedDict[str, tuple[float, float, float]] = OrderedDict()

    def take(self, name: str, size: int = 0, *, count: int = 1) -> RateLimitStatus:
        """As `RateLimiter.take`."""
        now = time.monotonic()
        limit = self._limit
        requests, bytes_, updated = self._buckets.pop(name, (limit.requests, limit.bytes, now))
        requests = _refill(requests, limit.requests, now - updated)
        bytes_ = _refill(bytes_, limit.bytes, now - updated)
        allowed = count == 0 or (requests >= 1 and bytes_ >= 1)
        if allowed:
            requests, bytes_ = requests - count, bytes_ - size
        self._buckets[name] = (requests, bytes_, now)
        if len(self._buckets) > MAX_LOCAL_BUCKETS:
            self._buckets.popitem(last=False)
        return RateLimitStatus(limit, allowed, requests, bytes_)

    def give_back(self, name: str) -> None:
        """Give back one request, which is not to count."""
        if name in self._buckets:
            requests, bytes_, updated = self._buckets[name]
            self._buckets[name] = (requests + 1, bytes_, updated)


def format_duration(seconds: float) -> str:
    """Format a duration in Go's notation, as OpenAI writes it: `17ms`, `1s`, `6m0s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _refill(level: float, limit: int, elapsed: float) -> float:
    return min(float(limit), level + elapsed * limit / WINDOW_SECONDS)


def _seconds_until(missing: float, limit: int) -> float:
    return max(0.0, missing) * WINDOW_SECONDS / limit
