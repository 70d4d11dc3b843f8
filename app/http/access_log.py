"""Access log: one line per request, until one key sends so many that it would push out the rest."""

import time
from collections import Counter
from typing import Any

from app import logs
from app.http.rate_limits import InMemoryRateLimiter, RateLimit

log = logs.get_logger(__name__)

# Of one key, and of all requests without a key together. 5 lines per second of 330 bytes are 142 MB
# per day, which the rotated files hold.
LINES_PER_MINUTE = 300
SUMMARY_INTERVAL_SECONDS = 60.0
NO_KEY = "none"


class AccessLog:
    """Writer of one line per request; beyond a key's limit, of one line per minute with counts."""

    def __init__(self, lines_per_minute: int = LINES_PER_MINUTE) -> None:
        self._limiter = InMemoryRateLimiter(RateLimit(requests=lines_per_minute, bytes=1))
        # Statuses of the requests without a line, by key.
        self._skipped: dict[str, Counter[int]] = {}
        self._summarized_at = time.monotonic()

    def write(self, *, key: str | None, status: int | None, **fields: Any) -> None:
        """Write or count a request."""
        self._summarize_if_due()
        # Server errors have lines of their own: a flood of other requests must not hide them.
        kind = "error" if (status or 0) >= 500 else "request"
        if self._limiter.take(f"{kind} {key or NO_KEY}").allowed:
            log.info("request", key=key, status=status, **fields)
        else:
            self._skipped.setdefault(key or NO_KEY, Counter())[status or 0] += 1

    def close(self) -> None:
        """Write what has been counted."""
        for key, statuses in self._skipped.items():
            counts = {str(status): count for status, count in sorted(statuses.items())}
            log.info("requests.not_listed", key=key, count=statuses.total(), statuses=counts)
        self._skipped.clear()

    def _summarize_if_due(self) -> None:
        now = time.monotonic()
        if now - self._summarized_at > SUMMARY_INTERVAL_SECONDS:
            self._summarized_at = now
            self.close()
