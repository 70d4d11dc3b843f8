"""Prometheus metrics of requests: of this process since its start, by route.

A route is its path in the code, such as `/v1/files/{file_id}`, so that clients add no series.
"""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import Scope

from app.http_server.protocol import LISTENER_PATH

# What no route matches: a wrong path, or a request that was refused before.
NO_ROUTE = "none"
METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})
OTHER_METHOD = "other"
DURATION_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)

REGISTRY = CollectorRegistry()
REQUESTS = Counter(
    "luthier_http_requests",
    "Requests by route and status; 499 if the client did not wait for the end of the response",
    ["method", "route", "status"],
    registry=REGISTRY,
)
DURATION = Histogram(
    "luthier_http_request_duration_seconds",
    "Seconds from a request's headers to the last byte of its response",
    ["method", "route"],
    buckets=DURATION_BUCKETS,
    registry=REGISTRY,
)


def record(scope: Scope, *, status: int | None, seconds: float) -> None:
    """Count a request that has ended; `scope` is the one that the routes got, if they did."""
    method = scope["method"] if scope["method"] in METHODS else OTHER_METHOD
    route = getattr(scope.get("route"), "path", NO_ROUTE)
    REQUESTS.labels(method, route, str(status)).inc()
    DURATION.labels(method, route).observe(seconds)


@dataclass(frozen=True, slots=True)
class RouteDuration:
    """Requests of a route since this process started, and their mean duration."""

    method: str
    route: str
    requests: int
    mean_seconds: float


def list_slowest(limit: int) -> list[RouteDuration]:
    """List the routes with the longest mean duration; without the streams that stay open, whose
    duration is their clients' choice."""
    sums: dict[tuple[str, str], float] = {}
    counts: dict[tuple[str, str], float] = {}
    for family in DURATION.collect():
        for sample in family.samples:
            key = (sample.labels["method"], sample.labels["route"])
            if sample.name.endswith("_sum"):
                sums[key] = sample.value
            elif sample.name.endswith("_count"):
                counts[key] = sample.value
    routes = [
        RouteDuration(*key, int(count), sums[key] / count)
        for key, count in counts.items()
        if count and key[1] != NO_ROUTE and not LISTENER_PATH.fullmatch(key[1])
    ]
    return sorted(routes, key=lambda each: each.mean_seconds, reverse=True)[:limit]
