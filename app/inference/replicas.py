"""Replicas of a base model's engine: which of them answers a request, and which are away."""

import asyncio
import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from app import logs
from app.engine_options import EngineKind

log = logs.get_logger(__name__)

# A replica takes the requests of its models up to this load, however little the others have.
MIN_BALANCED_LOAD = 8
# Above, up to this multiple of the mean, as in consistent hashing with bounded loads.
MAX_LOAD_FACTOR = 1.25
# Time for which a replica that failed gets no requests, doubled with each failure.
MIN_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 30.0


@dataclass(slots=True, eq=False)
class Replica:
    """One engine of a base model, and what this process knows of it.

    `kind` and `base_name`, the base model's name there, are None until the engine was asked.
    A trusted engine gets the engine key and is told the project.
    """

    url: str
    kind: EngineKind | None
    base_name: str | None
    is_trusted: bool
    in_flight: int = 0
    failures: int = 0
    paused_until: float = 0.0
    # What was not configured, but asked; again after it was away, since another may be there.
    has_asked_kind: bool = False
    has_asked_name: bool = False
    is_in_doubt: bool = False
    # Adapters that are being loaded, by their name at the engine.
    loading: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def is_paused(self) -> bool:
        return time.monotonic() < self.paused_until

    @contextmanager
    def count_request(self) -> Iterator[None]:
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def mark_away(self) -> None:
        """Give it no requests for a while, unless no other replica is left."""
        pause = min(MIN_PAUSE_SECONDS * 2 ** min(self.failures, 8), MAX_PAUSE_SECONDS)
        self.failures += 1
        self.paused_until = time.monotonic() + pause
        self.doubt_identity()
        log.warning("engine.away", url=self.url, seconds=pause)

    def doubt_identity(self) -> bool:
        """Have it asked again what it is; False if that is configured."""
        self.is_in_doubt = self.has_asked_kind or self.has_asked_name
        return self.is_in_doubt

    def mark_present(self) -> None:
        self.failures = 0
        self.paused_until = 0.0


def order_by_preference(replicas: Sequence[Replica], key: str) -> list[Replica]:
    """The replicas in the order in which a request is tried; all, should those in front fail.

    Requests with the same key meet the same replica, which has their adapter or prefix in memory,
    unless it has much more to do than the others (rendezvous hashing with bounded loads).
    """
    if len(replicas) == 1:
        return list(replicas)
    present = [replica for replica in replicas if not replica.is_paused]
    paused = sorted(set(replicas) - set(present), key=lambda replica: replica.paused_until)
    total = sum(replica.in_flight for replica in present) + 1
    mean = total / max(1, len(present))
    limit = max(MIN_BALANCED_LOAD, math.ceil(MAX_LOAD_FACTOR * mean))
    ranked = sorted(present, key=lambda replica: _score(replica.url, key), reverse=True)
    free = [replica for replica in ranked if replica.in_flight < limit]
    busy = sorted(set(ranked) - set(free), key=lambda replica: replica.in_flight)
    return [*free, *busy, *paused]


def _score(url: str, key: str) -> bytes:
    return hashlib.sha256(f"{key}\0{url}".encode()).digest()
