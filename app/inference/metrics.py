"""Prometheus metrics of requests to engines: of this process since its start, by base model."""

import time

from prometheus_client import CollectorRegistry, Counter, Histogram

from app.monitoring.traffic import RequestOutcome

DURATION_BUCKETS = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0),
)
WAITING_BUCKETS = (
    *(0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, 160.0),
)
INTERVAL_BUCKETS = (
    *(0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15),
    *(0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0),
)

REGISTRY = CollectorRegistry()
REQUESTS = Counter(
    "luthier_inference_requests",
    "Requests to engines by outcome",
    ["model", "outcome"],
    registry=REGISTRY,
)
DURATION = Histogram(
    "luthier_inference_request_duration_seconds",
    "Seconds to the last byte of a successful response",
    ["model"],
    buckets=DURATION_BUCKETS,
    registry=REGISTRY,
)
TIME_TO_FIRST_TOKEN = Histogram(
    "luthier_inference_time_to_first_token_seconds",
    "Seconds from the request to the first part of a stream",
    ["model"],
    buckets=WAITING_BUCKETS,
    registry=REGISTRY,
)
INTER_TOKEN_LATENCY = Histogram(
    "luthier_inference_inter_token_latency_seconds",
    "Seconds between two parts of a stream, which are mostly a token each",
    ["model"],
    buckets=INTERVAL_BUCKETS,
    registry=REGISTRY,
)


class RequestMeter:
    """Measures one request for a base model; made when it arrives."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._started_at = time.monotonic()
        self._part_at: float | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started_at

    def part_arrived(self) -> None:
        """Measure the time since the last part of a stream, or to the first one."""
        now = time.monotonic()
        if self._part_at is None:
            TIME_TO_FIRST_TOKEN.labels(self._model).observe(now - self._started_at)
        else:
            INTER_TOKEN_LATENCY.labels(self._model).observe(now - self._part_at)
        self._part_at = now

    def ended(self, outcome: RequestOutcome) -> None:
        REQUESTS.labels(self._model, outcome).inc()
        if outcome is RequestOutcome.SUCCEEDED:
            DURATION.labels(self._model).observe(self.seconds)
